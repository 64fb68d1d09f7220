//! The server itself: health, reflection, TLS, quotas, what is not served, and hostile peers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_api::Tls;
use otaria_core::ids::AccountNo;
use otaria_core::rules::Limits;
use otaria_ports::Unavailable;
use otaria_ports::quotas::{NoQuotas, Quotas, TooMany};
use otaria_proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::world::{World, because, why};

#[tokio::test]
async fn health_and_reflection_need_no_key() {
    let world = World::new().await;
    let mut health = HealthClient::new(world.channel.clone());
    for service in ["", "otaria.v1.OtaJobService", "otaria.v1.AccessService"] {
        let request = HealthCheckRequest { service: service.into() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status(), ServingStatus::Serving);
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(world.channel.clone());
    let mut answers =
        reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(services) = answer else { panic!("{answer:?}") };
    assert!(services.service.iter().any(|service| service.name == "otaria.v1.DeviceService"));
}

#[tokio::test]
async fn what_is_not_served_says_its_name() {
    let world = World::new().await;
    let admin = world.admin();
    let refused = admin
        .devices()
        .generate_file_upload_url(v1::GenerateFileUploadUrlRequest::default())
        .await
        .unwrap_err();
    assert_eq!(why(&refused), because(Code::Unimplemented, "InvalidApi.NotFound", ""));
    assert!(refused.message().contains("GenerateFileUploadURL"), "{}", refused.message());
    // Forms belong to the face that takes their files: this server has none.
    let package = admin.firmware().generate_ota_upload_url(v1::GenerateOtaUploadUrlRequest::default()).await;
    let list = admin.jobs().generate_device_name_list_url(v1::GenerateDeviceNameListUrlRequest {}).await;
    for (name, refused) in
        [("GenerateOTAUploadURL", package.unwrap_err()), ("GenerateDeviceNameListURL", list.unwrap_err())]
    {
        assert_eq!(why(&refused), because(Code::Unimplemented, "InvalidApi.NotFound", ""));
        assert!(refused.message().contains(name), "{}", refused.message());
    }
    // Also there nobody gets in without a key.
    let stranger = world.caller(None);
    let refused = stranger.jobs().list_ota_job_by_device(v1::ListOtaJobByDeviceRequest::default()).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
}

/// One call of each action.
struct OneEach(std::sync::Mutex<std::collections::BTreeSet<(AccountNo, &'static str)>>);

#[async_trait]
impl Quotas for OneEach {
    async fn take(
        &self,
        account: AccountNo,
        action: &'static str,
    ) -> Result<Result<(), TooMany>, Unavailable> {
        let fresh = self.0.lock().unwrap().insert((account, action)) || action == "CreateAccessKey";
        Ok(if fresh { Ok(()) } else { Err(TooMany { retry_after: Duration::from_millis(700) }) })
    }
}

#[tokio::test]
async fn a_call_too_many_is_told_when_to_come_back() {
    let quotas = Arc::new(OneEach(std::sync::Mutex::default()));
    let world = World::with(Limits::default(), quotas, None).await;
    let second = world.another(v1::AccessKeyRole::Operator, None).await;
    let query = v1::QueryOtaJobRequest { job_id: "unknown".into() };
    let first = world.admin().jobs().query_ota_job(query.clone()).await.unwrap_err();
    assert_eq!(first.code(), Code::NotFound);
    // The keys of an account share its quota.
    let refused = second.jobs().query_ota_job(query).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::ResourceExhausted, "Throttling.User", ""));
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_millis(700)));
}

#[tokio::test]
async fn over_tls_the_same_is_served() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let tls = Tls {
        certificates: made.cert.pem().into_bytes(),
        private_key: made.signing_key.serialize_pem().into_bytes(),
    };
    let mut world = World::with(Limits::default(), Arc::new(NoQuotas), Some(tls)).await;
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(made.cert.pem()))
        .domain_name("localhost");
    let url = format!("https://127.0.0.1:{}", world.port);
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(config).unwrap();
    world.channel = endpoint.connect().await.unwrap();
    let info = world.admin().access().get_server_info(v1::GetServerInfoRequest {}).await.unwrap();
    assert_eq!(info.into_inner().version, "0.0.0");
}

#[tokio::test]
async fn peers_that_talk_nonsense_hinder_nobody() {
    let world = World::new().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    let mut rude = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n\x00\xff\xfe").await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(5), rude.read_to_end(&mut answer)).await;
    closed.expect("closed in time").ok();
    let info = world.admin().access().get_server_info(v1::GetServerInfoRequest {}).await;
    assert!(info.is_ok());
}

#[tokio::test]
async fn a_message_larger_than_allowed_is_refused() {
    let world = World::new().await;
    let admin = world.admin();
    let device = vec![v1::NewDevice { device_name: "x".repeat(17 << 20), nickname: None }];
    let request = v1::RegisterDevicesRequest { product_key: "pk".into(), device };
    let refused = admin.devices().register_devices(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let info = admin.access().get_server_info(v1::GetServerInfoRequest {}).await;
    assert!(info.is_ok());
}

#[tokio::test]
async fn a_server_that_stops_sends_watchers_away() {
    let mut world = World::new().await;
    let admin = world.admin();
    let product_key = crate::world::product(&admin, "lamp").await;
    crate::world::register(&admin, &product_key, ["dev-1".to_owned()].into_iter()).await;
    let firmware_id = crate::world::firmware(&admin, &product_key, "fw1").await;
    let request = v1::CreateOtaStaticUpgradeJobRequest {
        firmware_id,
        product_key,
        target_selection: v1::TargetSelection::All.into(),
        ..Default::default()
    };
    let job_id = admin.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    let watch = v1::WatchOtaJobRequest { job_id };
    let mut items = admin.jobs().watch_ota_job(watch).await.unwrap().into_inner();
    items.next().await.unwrap().unwrap();
    world.stop().await;
    assert!(items.next().await.is_none_or(|item| item.is_err()));
}
