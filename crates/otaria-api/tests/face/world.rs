//! A server on a free port, its callers, and the small things that most tests need.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use otaria_api::{GrpcFace, ServerInfo, Tls};
use otaria_core::link::LinkKey;
use otaria_core::rules::Limits;
use otaria_core::time::Timestamp;
use otaria_core::vault::Vault;
use otaria_engine::{Commands, Deps, Shell};
use otaria_ports::bell::Bell;
use otaria_ports::bus::LocalBus;
use otaria_ports::clock::ManualClock;
use otaria_ports::events::NoEvents;
use otaria_ports::ids::CountingIds;
use otaria_ports::objects::MemoryObjects;
use otaria_ports::pace::LocalPace;
use otaria_ports::presence::LocalPresence;
use otaria_ports::pusher::KeptPusher;
use otaria_ports::quotas::{NoQuotas, Quotas};
use otaria_ports::store::memory::MemoryStore;
use otaria_proto::v1;
use otaria_proto::v1::access_service_client::AccessServiceClient;
use otaria_proto::v1::device_service_client::DeviceServiceClient;
use otaria_proto::v1::ota_firmware_service_client::OtaFirmwareServiceClient;
use otaria_proto::v1::ota_job_service_client::OtaJobServiceClient;
use otaria_proto::v1::ota_task_service_client::OtaTaskServiceClient;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub(crate) const START: Timestamp = Timestamp::from_millis(1_760_000_000_000);

/// Signs every request.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub(crate) type Signed = InterceptedService<Channel, Bearer>;

/// A caller with its key.
#[derive(Clone)]
pub(crate) struct Caller(Signed);

impl Caller {
    pub(crate) fn access(&self) -> AccessServiceClient<Signed> {
        AccessServiceClient::new(self.0.clone())
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Signed> {
        DeviceServiceClient::new(self.0.clone())
            .max_encoding_message_size(32 << 20)
            .max_decoding_message_size(32 << 20)
    }

    pub(crate) fn firmware(&self) -> OtaFirmwareServiceClient<Signed> {
        OtaFirmwareServiceClient::new(self.0.clone())
    }

    pub(crate) fn jobs(&self) -> OtaJobServiceClient<Signed> {
        OtaJobServiceClient::new(self.0.clone())
    }

    pub(crate) fn tasks(&self) -> OtaTaskServiceClient<Signed> {
        OtaTaskServiceClient::new(self.0.clone())
    }
}

pub(crate) struct World {
    pub(crate) channel: Channel,
    pub(crate) presence: Arc<LocalPresence>,
    pub(crate) objects: Arc<MemoryObjects>,
    pub(crate) shell: Arc<Shell>,
    pub(crate) port: u16,
    admin: (String, String),
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Limits::default(), Arc::new(NoQuotas), None).await
    }

    pub(crate) async fn with(limits: Limits, quotas: Arc<dyn Quotas>, tls: Option<Tls>) -> Self {
        let clock = Arc::new(ManualClock::at(START));
        let presence = Arc::new(LocalPresence::new(1, Arc::default()));
        let objects = Arc::new(MemoryObjects::default());
        let shell = Shell::new(Deps {
            store: Arc::new(MemoryStore::new(Arc::new(NoEvents))),
            objects: Arc::clone(&objects) as _,
            presence: Arc::clone(&presence) as _,
            pusher: Arc::new(KeptPusher::default()),
            pace: Arc::new(LocalPace::new(Duration::from_secs(2))),
            bus: Arc::new(LocalBus::new(Arc::new(Bell::default()))),
            ids: Arc::new(CountingIds::default()),
            vault: Vault::new(&[7; 32]),
            link_key: LinkKey::new([8; 32]),
            download_base: "http://127.0.0.1:8080".into(),
            limits,
        });
        let commands = Commands::new(Arc::clone(&shell));
        let made = commands.ensure_admin_key(START, None).await.unwrap();
        let (id, secret) = made.unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let info = ServerInfo { version: "0.0.0".into(), faces: Vec::new(), api_quota: false };
        let face = GrpcFace::new(commands, clock, quotas, info).tls(tls);
        let server = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            face.serve(listener, stopped).await.unwrap();
        });
        let channel = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
        let admin = (id.to_string(), secret);
        Self { channel, presence, objects, shell, port, admin, stop: Some(stop), server }
    }

    /// Tells the server to stop and waits until it did.
    pub(crate) async fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        tokio::time::timeout(Duration::from_secs(10), &mut self.server).await.unwrap().unwrap();
    }

    pub(crate) fn admin_key(&self) -> (&str, &str) {
        (&self.admin.0, &self.admin.1)
    }

    pub(crate) fn admin(&self) -> Caller {
        self.caller(Some((&self.admin.0, &self.admin.1)))
    }

    pub(crate) fn caller(&self, key: Option<(&str, &str)>) -> Caller {
        let value = key.map(|(id, secret)| format!("Bearer {id}:{secret}").parse().unwrap());
        Caller(InterceptedService::new(self.channel.clone(), Bearer(value)))
    }

    /// A caller of this role, in account 1 or a new one.
    pub(crate) async fn another(&self, role: v1::AccessKeyRole, account: Option<&str>) -> Caller {
        let request = v1::CreateAccessKeyRequest { account_id: account.map(Into::into), role: role.into() };
        let made = self.admin().access().create_access_key(request).await.unwrap().into_inner();
        self.caller(Some((&made.access_key.unwrap().access_key_id, &made.access_key_secret)))
    }

    /// An admin of a new account.
    pub(crate) async fn stranger(&self) -> Caller {
        let request = v1::CreateAccountRequest { account_name: "other".into() };
        let account = self.admin().access().create_account(request).await.unwrap().into_inner().account;
        self.another(v1::AccessKeyRole::Admin, Some(&account.unwrap().account_id)).await
    }
}

/// A product of the caller's.
pub(crate) async fn product(caller: &Caller, name: &str) -> String {
    let request = v1::CreateProductRequest {
        product_name: name.into(),
        node_type: v1::NodeType::Device.into(),
        ..Default::default()
    };
    caller.devices().create_product(request).await.unwrap().into_inner().product_key
}

/// Registers devices; all of them are new.
pub(crate) async fn register(caller: &Caller, product_key: &str, names: impl Iterator<Item = String>) {
    let device = names.map(|device_name| v1::NewDevice { device_name, nickname: None }).collect();
    let request = v1::RegisterDevicesRequest { product_key: product_key.into(), device };
    let answer = caller.devices().register_devices(request).await.unwrap().into_inner();
    let made = |result: &v1::RegisterDeviceResult| {
        matches!(result.result, Some(v1::register_device_result::Result::Device(_)))
    };
    assert!(answer.results.iter().all(made));
}

/// Uploads a package file.
pub(crate) async fn upload(caller: &Caller, content: &'static [u8]) -> v1::UploadFirmwareFileResponse {
    use v1::upload_firmware_file_request::Part;

    let parts =
        [Part::Header(v1::UploadFirmwareFileHeader::default()), Part::Chunk(Bytes::from_static(content))];
    let parts = parts.map(|part| v1::UploadFirmwareFileRequest { part: Some(part) });
    caller.firmware().upload_firmware_file(tokio_stream::iter(parts)).await.unwrap().into_inner()
}

/// A firmware that needs no verification.
pub(crate) async fn firmware(caller: &Caller, product_key: &str, name: &str) -> String {
    let firmware_url = upload(caller, b"package").await.firmware_url;
    let request = v1::CreateOtaFirmwareRequest {
        firmware_name: name.into(),
        dest_version: "2.0".into(),
        firmware_url: Some(firmware_url),
        product_key: product_key.into(),
        need_to_verify: Some(false),
        ..Default::default()
    };
    caller.firmware().create_ota_firmware(request).await.unwrap().into_inner().firmware_id
}

/// The reason of a refusal and the parameter that it names.
pub(crate) fn why(status: &Status) -> (tonic::Code, String, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let field = details.bad_request().map(|bad| bad.field_violations[0].field.clone()).unwrap_or_default();
    (status.code(), reason, field)
}

/// [`why`] for comparisons.
pub(crate) fn because(code: tonic::Code, reason: &str, field: &str) -> (tonic::Code, String, String) {
    (code, reason.into(), field.into())
}
