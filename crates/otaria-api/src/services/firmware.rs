//! Packages and the versions of devices.

use std::sync::Arc;

use otaria_core::ids::FirmwareNo;
use otaria_core::rules::{ModuleParams, UploadParams};
use otaria_engine::command::{DeviceRef, FirmwareListParams};
use otaria_ports::store::UploadKind;
use otaria_proto::v1;
use otaria_proto::v1::ota_firmware_service_server::OtaFirmwareService;
use otaria_proto::v1::upload_firmware_file_request::Part as FilePart;
use tonic::{Request, Response, Status, Streaming};

use super::{Shared, caller_of, uploads};
use crate::convert::{
    count, device as convert_device, firmware as convert, group as convert_group, instant, text,
};
use crate::errors::{self, status_of};
use crate::paging::{Asked, Page};

pub(crate) struct Firmware(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl OtaFirmwareService for Firmware {
    async fn generate_ota_upload_url(
        &self,
        request: Request<v1::GenerateOtaUploadUrlRequest>,
    ) -> Result<Response<v1::GenerateOtaUploadUrlResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let form = uploads::form(&self.0, &caller, now, (UploadKind::Package, request.file_suffix))?;
        Ok(Response::new(v1::GenerateOtaUploadUrlResponse {
            host: form.host,
            key: form.key,
            policy: form.policy,
            oss_access_key_id: form.access_key_id,
            signature: form.signature,
            object_storage: uploads::OBJECT_STORAGE.into(),
            firmware_url: form.url,
            utc_create: Some(instant(now)),
        }))
    }

    async fn upload_firmware_file(
        &self,
        request: Request<Streaming<v1::UploadFirmwareFileRequest>>,
    ) -> Result<Response<v1::UploadFirmwareFileResponse>, Status> {
        let caller = caller_of(&request)?;
        let mut parts = request.into_inner();
        let first = uploads::next(&mut parts).await?.and_then(|message| message.part);
        let Some(FilePart::Header(header)) = first else {
            return Err(errors::invalid("Header", "must be the first message of an upload"));
        };
        let params = UploadParams {
            file_suffix: header.file_suffix,
            size_bytes: header.size_bytes,
            md5: header.md5,
            sha256: header.sha256,
        };
        let sink = self.0.commands.begin_upload(&caller, UploadKind::Package, &params).await;
        let mut sink = sink.map_err(status_of)?;
        while let Some(message) = uploads::next(&mut parts).await? {
            let Some(FilePart::Chunk(bytes)) = message.part else {
                return Err(errors::invalid("Chunk", "must be in every message of an upload but the first"));
            };
            sink.write(bytes).await.map_err(status_of)?;
        }
        let upload = sink.finish(self.0.clock.now()).await.map_err(status_of)?;
        Ok(Response::new(v1::UploadFirmwareFileResponse {
            firmware_url: upload.url,
            size_bytes: count(upload.size),
            md5: upload.md5,
            sha256: upload.sha256,
        }))
    }

    async fn create_ota_firmware(
        &self,
        request: Request<v1::CreateOtaFirmwareRequest>,
    ) -> Result<Response<v1::CreateOtaFirmwareResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = convert::params(request);
        let made = self.0.commands.create_firmware(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateOtaFirmwareResponse {
            firmware_id: made.id.to_string(),
            utc_create: Some(instant(made.created_at)),
        }))
    }

    async fn query_ota_firmware(
        &self,
        request: Request<v1::QueryOtaFirmwareRequest>,
    ) -> Result<Response<v1::QueryOtaFirmwareResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let view = self.0.commands.query_firmware_directly(&caller, now, &request.firmware_id).await;
        let info = convert::info(view.map_err(status_of)?);
        Ok(Response::new(v1::QueryOtaFirmwareResponse { firmware_info: Some(info) }))
    }

    async fn list_ota_firmware(
        &self,
        request: Request<v1::ListOtaFirmwareRequest>,
    ) -> Result<Response<v1::ListOtaFirmwareResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let params =
            FirmwareListParams { product_key: request.product_key, dest_version: request.dest_version };
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 100,
        };
        let filter = |text: &Option<String>| text.clone().unwrap_or_default();
        let list = ["ListOTAFirmware", &filter(&params.product_key), &filter(&params.dest_version)];
        let cursor = |text: &str| text.parse().ok().map(FirmwareNo);
        let page: Page<FirmwareNo> = Page::read(asked, &list, cursor)?;
        let (before, skip, limit) = (page.after, page.skip, page.size);
        let listed = self.0.commands.list_firmwares(&caller, &params, before, skip, limit).await;
        let listed = listed.map_err(status_of)?;
        let answer = page.answer(listed.total, listed.next);
        Ok(Response::new(v1::ListOtaFirmwareResponse {
            firmware: listed.rows.into_iter().map(convert::simple).collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn list_ota_module_versions_by_device(
        &self,
        request: Request<v1::ListOtaModuleVersionsByDeviceRequest>,
    ) -> Result<Response<v1::ListOtaModuleVersionsByDeviceResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let which = DeviceRef {
            iot_id: request.iot_id,
            product_key: request.product_key,
            device_name: request.device_name,
        };
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 100,
        };
        let named = |text: &Option<String>| text.clone().unwrap_or_default();
        let list = [
            "ListOTAModuleVersionsByDevice",
            &named(&which.iot_id),
            &named(&which.product_key),
            &named(&which.device_name),
        ];
        let page: Page<String> = Page::read(asked, &list, |text| Some(text.to_owned()))?;
        let (product, view) = self.0.commands.query_device(&caller, &which).await.map_err(status_of)?;
        // A device has few modules: all of them are there anyway.
        let after = |module: &str| page.after.as_deref().is_none_or(|after| module > after);
        let mut rest = view.versions.iter().filter(|row| after(row.module.as_str())).skip(page.skip);
        let rows: Vec<_> = rest.by_ref().take(page.size).collect();
        let next = rest.next().and(rows.last()).map(|last| last.module.clone());
        let answer = page.answer(view.versions.len() as u64, next);
        let modules = rows.into_iter().map(|row| convert_device::module_info(&product, &view, row));
        Ok(Response::new(v1::ListOtaModuleVersionsByDeviceResponse {
            modules: modules.collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn modify_ota_firmware(
        &self,
        request: Request<v1::ModifyOtaFirmwareRequest>,
    ) -> Result<Response<v1::ModifyOtaFirmwareResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let id = request.firmware_id.clone();
        let params = convert::change(request);
        self.0.commands.modify_firmware(&caller, now, &id, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::ModifyOtaFirmwareResponse {}))
    }

    async fn delete_ota_firmware(
        &self,
        request: Request<v1::DeleteOtaFirmwareRequest>,
    ) -> Result<Response<v1::DeleteOtaFirmwareResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        self.0.commands.delete_firmware(&caller, &request.firmware_id).await.map_err(status_of)?;
        Ok(Response::new(v1::DeleteOtaFirmwareResponse {}))
    }

    async fn create_ota_module(
        &self,
        request: Request<v1::CreateOtaModuleRequest>,
    ) -> Result<Response<v1::CreateOtaModuleResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let v1::CreateOtaModuleRequest { product_key, module_name, alias_name, desc } = request;
        let (product_key, module_name) = (text(product_key), text(module_name));
        let params = ModuleParams { product_key, module_name, alias_name, desc };
        self.0.commands.create_module(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CreateOtaModuleResponse {}))
    }

    async fn update_ota_module(
        &self,
        request: Request<v1::UpdateOtaModuleRequest>,
    ) -> Result<Response<v1::UpdateOtaModuleResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let v1::UpdateOtaModuleRequest { product_key, module_name, alias_name, desc } = request;
        let (product_key, module_name) = (text(product_key), text(module_name));
        let params = ModuleParams { product_key, module_name, alias_name, desc };
        self.0.commands.update_module(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::UpdateOtaModuleResponse {}))
    }

    async fn delete_ota_module(
        &self,
        request: Request<v1::DeleteOtaModuleRequest>,
    ) -> Result<Response<v1::DeleteOtaModuleResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let (key, module) = (text(request.product_key), text(request.module_name));
        self.0.commands.delete_module(&caller, key.as_ref(), module.as_ref()).await.map_err(status_of)?;
        Ok(Response::new(v1::DeleteOtaModuleResponse {}))
    }

    async fn list_ota_module_by_product(
        &self,
        request: Request<v1::ListOtaModuleByProductRequest>,
    ) -> Result<Response<v1::ListOtaModuleByProductResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked =
            Asked { size: request.page_size, token: &request.page_token, number: None, by_number_max: 1_000 };
        let list = ["ListOTAModuleByProduct", &request.product_key];
        let page: Page<usize> = Page::read(asked, &list, |text| text.parse().ok())?;
        let key = text(request.product_key.clone());
        let (product, modules) = self.0.commands.modules(&caller, key.as_ref()).await.map_err(status_of)?;
        // At most eleven: a page is cut out of all of them.
        let (from, total) = (page.after.unwrap_or(0), modules.len());
        let next = Some(from.saturating_add(page.size)).filter(|next| *next < total);
        let answer = page.answer(total as u64, next);
        let rows = modules.iter().skip(from).take(page.size);
        Ok(Response::new(v1::ListOtaModuleByProductResponse {
            modules: rows.map(|module| convert_group::module(&product, module)).collect(),
            next_page_token: answer.next_page_token,
            total: answer.total,
        }))
    }
}
