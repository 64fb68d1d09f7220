//! The services: each method reads its message, gives one command, and writes the answer.

mod access;
mod devices;
mod firmware;
mod jobs;
mod tasks;
mod uploads;

use std::sync::Arc;

use otaria_core::time::Timestamp;
use otaria_engine::{Caller, Commands};
use otaria_ports::clock::Clock;
use otaria_proto::v1::access_service_server::AccessServiceServer;
use otaria_proto::v1::device_service_server::DeviceServiceServer;
use otaria_proto::v1::ota_firmware_service_server::OtaFirmwareServiceServer;
use otaria_proto::v1::ota_job_service_server::OtaJobServiceServer;
use otaria_proto::v1::ota_task_service_server::OtaTaskServiceServer;
use tokio::sync::watch;
use tonic::server::NamedService;
use tonic::service::RoutesBuilder;
use tonic::{Request, Status};

use crate::MESSAGE_MAX_BYTES;
use crate::forms::UploadForms;
use crate::watch::Hub;

/// Another part of the server that `GetServerInfo` tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceAddress {
    /// Which.
    pub kind: FaceKind,
    /// Host and port as clients reach them.
    pub address: String,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// The parts of a server that others connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaceKind {
    /// This one.
    Grpc,
    /// Uploads, downloads, metrics and health.
    Http,
    /// Devices, and platforms that follow events.
    Mqtt,
}

/// What the server says about itself beside its limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Of the binary.
    pub version: String,
    /// Where its faces listen.
    pub faces: Vec<FaceAddress>,
    /// Whether the quotas of the methods hold.
    pub api_quota: bool,
}

/// What all services work with.
pub(crate) struct Shared {
    pub(crate) commands: Commands,
    pub(crate) forms: Option<Arc<dyn UploadForms>>,
    clock: Arc<dyn Clock>,
    info: ServerInfo,
    hub: Hub,
}

impl Shared {
    pub(crate) fn new(
        commands: Commands,
        clock: Arc<dyn Clock>,
        info: ServerInfo,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let hub = Hub::new(commands.clone(), Arc::clone(&clock), closing);
        Self { commands, forms: None, clock, info, hub }
    }

    /// Who asks, when, and for what.
    fn open<T>(&self, request: Request<T>) -> Result<(Caller, Timestamp, T), Status> {
        let caller = caller_of(&request)?;
        Ok((caller, self.clock.now(), request.into_inner()))
    }
}

/// The caller that the guard let in.
fn caller_of<T>(request: &Request<T>) -> Result<Caller, Status> {
    // Without the guard before it a service serves nobody.
    request.extensions().get::<Caller>().cloned().ok_or_else(|| Status::internal("no caller"))
}

/// Adds all services; returns their names.
pub(crate) fn add_to(routes: &mut RoutesBuilder, shared: &Arc<Shared>) -> Vec<&'static str> {
    let mut names = Vec::new();
    macro_rules! add {
        ($server:ident, $service:expr) => {
            let service = $server::new($service)
                .max_decoding_message_size(MESSAGE_MAX_BYTES)
                .max_encoding_message_size(MESSAGE_MAX_BYTES);
            names.push(name_of(&service));
            routes.add_service(service);
        };
    }
    add!(AccessServiceServer, access::Access(Arc::clone(shared)));
    add!(DeviceServiceServer, devices::Devices(Arc::clone(shared)));
    add!(OtaFirmwareServiceServer, firmware::Firmware(Arc::clone(shared)));
    add!(OtaJobServiceServer, jobs::Jobs(Arc::clone(shared)));
    add!(OtaTaskServiceServer, tasks::Tasks(Arc::clone(shared)));
    names
}

fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}
