//! The gRPC API as Rust types: messages, clients and server traits, generated from `proto/` by `build.rs`.
//!
//! Holds no logic and knows nothing of the domain. Conversions live in `otaria-api`, which is also the
//! place that refuses what a message may hold and a job may not.
//!
//! Generated clients take a channel (`OtaJobServiceClient::new(channel)`); they have no `connect`, so that
//! this crate needs no transport.

/// Package `otaria.v1`.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "written by tonic-prost-build"
)]
pub mod v1 {
    tonic::include_proto!("otaria.v1");
}

/// Descriptors of every message and service, encoded as a `google.protobuf.FileDescriptorSet`: what
/// gRPC reflection serves. Imports are included, comments are not.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
