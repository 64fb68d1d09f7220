//! Input that is wrong, at every face of the real server: each time a clear error that names parameter and
//! rule, or an exact count of what was rejected; nothing half-made; and a server that goes on.

mod calls;
mod files;
mod requests;
mod sockets;
