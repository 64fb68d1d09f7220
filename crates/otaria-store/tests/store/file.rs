//! What only a file can do: come back.
