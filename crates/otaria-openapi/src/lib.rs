//! The HTTP face: downloads for devices and platforms, health, readiness and metrics for those who run the server. Turns
//! requests into calls of ports and answers into HTTP; never knows SQL, MQTT or gRPC, and decides nothing
//! about jobs and tasks.
//!
//! | path | who asks | answer |
//! |---|---|---|
//! | `/d/{token}` | devices | a package file, whole or in a range, while its link holds |
//! | `/d/{token}` | platforms | the lines of a job's list that made no task, as text, while the link holds |
//! | `/healthz`, `/readyz` | whoever keeps the process running | alive; fit to take work |
//! | `/metrics` | Prometheus | text |
//! | `/` | people | what this is |
//!
//! Header names go out in title case, because some device SDKs compare `Content-Length` letter by letter;
//! that is why hyper's server is driven here directly (`serve`).

mod download;
mod face;
mod meters;
mod patient;
mod range;
mod ready;
mod rejects;
mod serve;
mod tls;

pub use download::{Packages, StorePackages};
pub use face::{FaceParts, HttpFace, MetricsText};
pub use ready::{Check, ReadyCheck};
pub use rejects::{RejectedLines, Rejects, StoreRejects};
pub use serve::{Drained, Limits, serve};
pub use tls::{Tls, TlsError};
