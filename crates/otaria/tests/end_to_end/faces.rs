//! The gRPC face as a platform calls it.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use otaria_proto::v1::access_service_client::AccessServiceClient;
use otaria_proto::v1::device_service_client::DeviceServiceClient;
use otaria_proto::v1::ota_firmware_service_client::OtaFirmwareServiceClient;
use otaria_proto::v1::ota_job_service_client::OtaJobServiceClient;
use otaria_proto::v1::ota_task_service_client::OtaTaskServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

/// Largest answer that is accepted, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// How long a call is repeated while nobody answers.
const REPEAT_PATIENCE: Duration = Duration::from_secs(60);

/// The services, with one access key or whatever else stands in for it.
#[derive(Clone)]
pub(crate) struct Faces {
    channel: Channel,
    authorization: Authorization,
}

/// Puts the metadata `authorization` on every call, or leaves it out.
#[derive(Clone)]
pub(crate) struct Authorization(Option<MetadataValue<Ascii>>);

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

pub(crate) type Wire = InterceptedService<Channel, Authorization>;

impl Faces {
    /// Connects at the first call, and again whenever it must.
    pub(crate) fn new(grpc: SocketAddr, [id, secret]: &[String; 2]) -> Self {
        Self::saying(grpc, Some(&format!("Bearer {id}:{secret}")))
    }

    /// The same with any text as authorization, or none.
    pub(crate) fn saying(grpc: SocketAddr, authorization: Option<&str>) -> Self {
        let channel = Endpoint::from_shared(format!("http://{grpc}")).unwrap().tcp_nodelay(true);
        let value = authorization.map(|text| text.parse().unwrap());
        Self { channel: channel.connect_lazy(), authorization: Authorization(value) }
    }

    /// The connection itself, for calls that no generated client makes.
    pub(crate) fn wire(&self) -> Wire {
        InterceptedService::new(self.channel.clone(), self.authorization.clone())
    }

    pub(crate) fn access(&self) -> AccessServiceClient<Wire> {
        AccessServiceClient::new(self.wire())
    }

    pub(crate) fn devices(&self) -> DeviceServiceClient<Wire> {
        DeviceServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }

    pub(crate) fn firmware(&self) -> OtaFirmwareServiceClient<Wire> {
        OtaFirmwareServiceClient::new(self.wire())
    }

    pub(crate) fn jobs(&self) -> OtaJobServiceClient<Wire> {
        OtaJobServiceClient::new(self.wire())
    }

    pub(crate) fn tasks(&self) -> OtaTaskServiceClient<Wire> {
        OtaTaskServiceClient::new(self.wire()).max_decoding_message_size(ANSWER_MAX)
    }
}

impl Faces {
    /// Calls a method with a message that need not be the method's own.
    pub(crate) async fn raw<M>(&self, method: &str, message: M) -> Result<Response<()>, Status>
    where
        M: prost::Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.wire());
        client.ready().await.unwrap();
        let path = format!("/otaria.v1.{method}").parse().unwrap();
        client.unary(Request::new(message), path, tonic_prost::ProstCodec::<M, ()>::default()).await
    }
}

/// Repeats a call until the server answers it, whatever the answer is: while a server is down or killed in
/// the middle of a call, nobody answers.
pub(crate) async fn firmly<T>(
    mut call: impl AsyncFnMut() -> Result<Response<T>, Status>,
) -> Result<T, Status> {
    let answered = tokio::time::timeout(REPEAT_PATIENCE, async {
        loop {
            match call().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) if nobody_answered(&status) => tokio::time::sleep(crate::LOOK).await,
                Err(status) => return Err(status),
            }
        }
    });
    answered.await.expect("an answer in time")
}

fn nobody_answered(status: &Status) -> bool {
    // A status that the server itself has sent has no cause on this side.
    status.code() == Code::Unavailable || status.source().is_some()
}

/// Fails unless a call was refused with this code, for this parameter, under this reason; returns the rule.
pub(crate) fn assert_refused<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    (code, field, reason): (Code, &str, &str),
) -> String {
    let status = answer.map(Response::into_inner).expect_err("it should be refused");
    let details = status.get_error_details();
    let found = details.error_info().map(|info| info.reason.clone());
    assert_eq!((status.code(), found.as_deref()), (code, Some(reason)), "{status:?}");
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, [field], "{status:?}");
    assert!(status.message().contains(field), "the rule names the parameter: {}", status.message());
    status.message().to_owned()
}

/// Fails unless a call was refused with this code under this reason, for no single parameter.
pub(crate) fn assert_denied<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    (code, reason): (Code, &str),
) {
    let status = answer.map(Response::into_inner).expect_err("it should be refused");
    let found = status.get_details_error_info().map(|info| info.reason);
    assert_eq!((status.code(), found.as_deref()), (code, Some(reason)), "{status:?}");
    assert!(!status.message().is_empty());
}
