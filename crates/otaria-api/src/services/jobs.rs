//! Jobs.

use std::sync::Arc;

use otaria_core::rules::UploadParams;
use otaria_ports::store::UploadKind;
use otaria_proto::v1;
use otaria_proto::v1::ota_job_service_server::OtaJobService;
use otaria_proto::v1::upload_device_name_list_request::Part as ListPart;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, caller_of, uploads};
use crate::convert::{count, instant, job as convert};
use crate::errors::{self, status_of};

pub(crate) struct Jobs(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl OtaJobService for Jobs {
    async fn create_ota_verify_job(
        &self,
        request: Request<v1::CreateOtaVerifyJobRequest>,
    ) -> Result<Response<v1::CreateOtaVerifyJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = convert::verify_params(request);
        let made = self.0.commands.create_verify_job(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateOtaVerifyJobResponse {
            job_id: made.job_id.to_string(),
            utc_create: Some(instant(made.created_at)),
        }))
    }

    async fn create_ota_static_upgrade_job(
        &self,
        request: Request<v1::CreateOtaStaticUpgradeJobRequest>,
    ) -> Result<Response<v1::CreateOtaStaticUpgradeJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = convert::static_params(request);
        let made = self.0.commands.create_static_job(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateOtaStaticUpgradeJobResponse {
            job_id: made.job_id.to_string(),
            utc_create: Some(instant(made.created_at)),
        }))
    }

    async fn query_ota_job(
        &self,
        request: Request<v1::QueryOtaJobRequest>,
    ) -> Result<Response<v1::QueryOtaJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let view = self.0.commands.query_job(&caller, now, &request.job_id).await.map_err(status_of)?;
        Ok(Response::new(convert::queried(&view)))
    }

    async fn pause_ota_job(
        &self,
        request: Request<v1::PauseOtaJobRequest>,
    ) -> Result<Response<v1::PauseOtaJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        self.0.commands.pause_job(&caller, now, &request.job_id).await.map_err(status_of)?;
        Ok(Response::new(v1::PauseOtaJobResponse {}))
    }

    async fn resume_ota_job(
        &self,
        request: Request<v1::ResumeOtaJobRequest>,
    ) -> Result<Response<v1::ResumeOtaJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        self.0.commands.resume_job(&caller, now, &request.job_id).await.map_err(status_of)?;
        Ok(Response::new(v1::ResumeOtaJobResponse {}))
    }

    async fn watch_ota_job(
        &self,
        request: Request<v1::WatchOtaJobRequest>,
    ) -> Result<Response<BoxStream<v1::WatchOtaJobResponse>>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        Ok(Response::new(self.0.hub.watch(&caller, &request.job_id).await?))
    }

    async fn upload_device_name_list(
        &self,
        request: Request<Streaming<v1::UploadDeviceNameListRequest>>,
    ) -> Result<Response<v1::UploadDeviceNameListResponse>, Status> {
        let caller = caller_of(&request)?;
        let mut parts = request.into_inner();
        let mut next = uploads::next(&mut parts).await?.and_then(|message| message.part);
        let mut params = UploadParams::default();
        if let Some(ListPart::Header(header)) = next {
            params.size_bytes = header.size_bytes;
            params.sha256 = header.sha256;
            next = uploads::next(&mut parts).await?.and_then(|message| message.part);
        }
        let sink = self.0.commands.begin_upload(&caller, UploadKind::NameList, &params).await;
        let mut sink = sink.map_err(status_of)?;
        while let Some(part) = next {
            let ListPart::Chunk(bytes) = part else {
                return Err(errors::invalid("Header", "must be the first message of an upload or none"));
            };
            sink.write(bytes).await.map_err(status_of)?;
            next = match uploads::next(&mut parts).await? {
                None => None,
                Some(message) => Some(message.part.unwrap_or(ListPart::Chunk(bytes::Bytes::new()))),
            };
        }
        let upload = sink.finish(self.0.clock.now()).await.map_err(status_of)?;
        Ok(Response::new(v1::UploadDeviceNameListResponse {
            file_url: upload.url,
            size_bytes: count(upload.size),
            line_count: count(upload.lines),
        }))
    }
}
