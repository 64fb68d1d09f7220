//! Jobs.

use std::sync::Arc;

use otaria_core::ids::JobNo;
use otaria_core::rules::UploadParams;
use otaria_engine::command::DeviceRef;
use otaria_ports::store::UploadKind;
use otaria_proto::v1;
use otaria_proto::v1::ota_job_service_server::OtaJobService;
use otaria_proto::v1::upload_device_name_list_request::Part as ListPart;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, caller_of, uploads};
use crate::convert::{count, instant, job as convert, text};
use crate::errors::{self, status_of};
use crate::paging::{Asked, Page};

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

    async fn create_ota_dynamic_upgrade_job(
        &self,
        request: Request<v1::CreateOtaDynamicUpgradeJobRequest>,
    ) -> Result<Response<v1::CreateOtaDynamicUpgradeJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = convert::dynamic_params(request);
        let made = self.0.commands.create_dynamic_job(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateOtaDynamicUpgradeJobResponse {
            job_id: made.job_id.to_string(),
            utc_create: Some(instant(made.created_at)),
        }))
    }

    async fn cancel_ota_strategy_by_job(
        &self,
        request: Request<v1::CancelOtaStrategyByJobRequest>,
    ) -> Result<Response<v1::CancelOtaStrategyByJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        self.0.commands.cancel_strategy(&caller, now, &request.job_id).await.map_err(status_of)?;
        Ok(Response::new(v1::CancelOtaStrategyByJobResponse {}))
    }

    async fn query_ota_job(
        &self,
        request: Request<v1::QueryOtaJobRequest>,
    ) -> Result<Response<v1::QueryOtaJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let view = self.0.commands.query_job(&caller, now, &request.job_id).await.map_err(status_of)?;
        Ok(Response::new(convert::queried(&view)))
    }

    async fn update_ota_job(
        &self,
        request: Request<v1::UpdateOtaJobRequest>,
    ) -> Result<Response<v1::UpdateOtaJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let job_id = request.job_id.clone();
        let params = convert::update_params(request);
        self.0.commands.update_job(&caller, now, &job_id, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::UpdateOtaJobResponse {}))
    }

    async fn list_ota_job_by_firmware(
        &self,
        request: Request<v1::ListOtaJobByFirmwareRequest>,
    ) -> Result<Response<v1::ListOtaJobByFirmwareResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 200,
        };
        let page = read_page(asked, &["ListOTAJobByFirmware", &request.firmware_id])?;
        let (before, skip, limit) = (page.after, page.skip, page.size);
        let commands = &self.0.commands;
        let listed = commands.list_jobs_of_firmware(&caller, &request.firmware_id, before, skip, limit).await;
        let listed = listed.map_err(status_of)?;
        let answer = page.answer(listed.total, listed.next);
        Ok(Response::new(v1::ListOtaJobByFirmwareResponse {
            jobs: listed.rows.iter().map(convert::simple).collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn list_ota_job_by_device(
        &self,
        request: Request<v1::ListOtaJobByDeviceRequest>,
    ) -> Result<Response<v1::ListOtaJobByDeviceResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 100,
        };
        let v1::ListOtaJobByDeviceRequest { product_key, device_name, firmware_id, .. } = &request;
        let page = read_page(asked, &["ListOTAJobByDevice", product_key, device_name, firmware_id])?;
        let which = DeviceRef {
            iot_id: None,
            product_key: text(product_key.clone()),
            device_name: text(device_name.clone()),
        };
        let (before, skip, limit) = (page.after, page.skip, page.size);
        let commands = &self.0.commands;
        let listed = commands.list_jobs_of_device(&caller, &which, firmware_id, before, skip, limit).await;
        let listed = listed.map_err(status_of)?;
        let answer = page.answer(listed.total, listed.next);
        Ok(Response::new(v1::ListOtaJobByDeviceResponse {
            jobs: listed.rows.iter().map(convert::simple).collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
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

    async fn generate_device_name_list_url(
        &self,
        request: Request<v1::GenerateDeviceNameListUrlRequest>,
    ) -> Result<Response<v1::GenerateDeviceNameListUrlResponse>, Status> {
        let (caller, now, _) = self.0.open(request)?;
        let form = uploads::form(&self.0, &caller, now, (UploadKind::NameList, None))?;
        Ok(Response::new(v1::GenerateDeviceNameListUrlResponse {
            host: form.host,
            key: form.key,
            policy: form.policy,
            access_key_id: form.access_key_id,
            signature: form.signature,
            object_storage: uploads::OBJECT_STORAGE.into(),
            file_url: form.url,
            utc_create: Some(instant(now)),
        }))
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

/// A page of a list of jobs, whose places are their numbers.
fn read_page(asked: Asked<'_>, list: &[&str]) -> Result<Page<JobNo>, Status> {
    Page::read(asked, list, |text| text.parse().ok().map(JobNo))
}
