//! Platform clients.
