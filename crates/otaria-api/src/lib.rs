//! The gRPC face: parses requests, gives commands to the engine, and writes down what it answers; the only
//! place where messages become values of the domain and back. Never learns how anything is stored or
//! delivered, and holds no rule of its own beyond those of paging.
//!
//! Invariant: nobody reaches a service without a key that works; only health and reflection are open.

mod convert;
mod errors;
mod face;
mod forms;
mod guard;
mod listen;
mod methods;
mod paging;
mod services;
mod watch;

pub use face::{GrpcFace, ServeError};
pub use forms::{UploadForm, UploadForms};
pub use listen::{Exposed, Tls, check_exposure};
pub use services::{FaceAddress, FaceKind, ServerInfo};

/// Bytes of a message at most, in either direction.
pub const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;
