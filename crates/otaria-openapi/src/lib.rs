//! The HTTP face: the cloud-compatible API for platforms and their SDKs, uploads, downloads for devices, and
//! health and metrics for those who run the server. Turns requests into commands of the engine and answers
//! into HTTP; never knows SQL, MQTT or gRPC, and decides nothing about jobs and tasks.
//!
//! | path | who asks | answer |
//! |---|---|---|
//! | `/` with parameters | platforms | one action of the API, as the cloud's SDKs call it (`actions`) |
//! | `/u` | platforms | takes the file of an upload form (`forms`) |
//! | `/d/{token}` | devices | a package file, whole or in a range, while its link holds |
//! | `/d/{token}` | platforms | the lines of a job's list that made no task, as text, while the link holds |
//! | `/healthz`, `/readyz` | whoever keeps the process running | alive; fit to take work |
//! | `/metrics` | Prometheus | text |
//! | `/mqtt/auth`, `/mqtt/acl` | a broker that is not ours | whether a device may (`hook`); only where there is one |
//! | `/` | people | what this is |
//!
//! Header names go out in title case, because some device SDKs compare `Content-Length` letter by letter;
//! that is why hyper's server is driven here directly (`serve`).

mod actions;
mod api;
mod download;
mod envelope;
mod face;
mod forms;
mod hex;
mod hook;
mod instant;
mod meters;
mod paging;
mod params;
mod patient;
mod range;
mod ready;
mod rejects;
mod serve;
mod sign;
mod tls;
pub mod untrusted;

pub use actions::action_names;
pub use api::ApiParts;
pub use download::{Packages, StorePackages};
pub use face::{FaceParts, HttpFace, MetricsText};
pub use forms::{Forms, IssuedForm};
pub use hook::BrokerHook;
pub use ready::{Check, ReadyCheck};
pub use rejects::{RejectedLines, Rejects, StoreRejects};
pub use serve::{Drained, Limits, serve};
pub use tls::{Tls, TlsError};
