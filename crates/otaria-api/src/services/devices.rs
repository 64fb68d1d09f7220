//! Products and devices.

use std::sync::Arc;

use otaria_core::ids::{DeviceName, ProductNo};
use otaria_core::rules::{DeviceParams, ProductParams};
use otaria_engine::command::DeviceRef;
use otaria_proto::v1;
use otaria_proto::v1::device_service_server::DeviceService;
use tonic::{Request, Response, Status};

use super::Shared;
use crate::convert::{device as convert, instant, text};
use crate::errors::{self, status_of};
use crate::paging::{Asked, Page};

pub(crate) struct Devices(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl DeviceService for Devices {
    async fn create_product(
        &self,
        request: Request<v1::CreateProductRequest>,
    ) -> Result<Response<v1::CreateProductResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = ProductParams {
            product_name: text(request.product_name),
            node_type: convert::node_type_number(request.node_type),
            description: request.description,
            auth_type: request.auth_type,
            data_format: request.data_format.map(i64::from),
        };
        let view = self.0.commands.create_product(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(convert::created_product(view)))
    }

    async fn query_product(
        &self,
        request: Request<v1::QueryProductRequest>,
    ) -> Result<Response<v1::QueryProductResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let view = self.0.commands.query_product(&caller, &request.product_key).await;
        Ok(Response::new(convert::queried_product(view.map_err(status_of)?)))
    }

    async fn query_product_list(
        &self,
        request: Request<v1::QueryProductListRequest>,
    ) -> Result<Response<v1::QueryProductListResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 200,
        };
        let cursor = |text: &str| text.parse().ok().map(ProductNo);
        let page: Page<ProductNo> = Page::read(asked, &["QueryProductList"], cursor)?;
        let listed = self.0.commands.list_products(&caller, page.after, page.skip, page.size).await;
        let listed = listed.map_err(status_of)?;
        let answer = page.answer(listed.total, listed.next);
        Ok(Response::new(v1::QueryProductListResponse {
            products: listed.rows.iter().map(convert::product_info).collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn register_device(
        &self,
        request: Request<v1::RegisterDeviceRequest>,
    ) -> Result<Response<v1::RegisterDeviceResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let strangers = [
            ("AppKey", &request.app_key),
            ("DevEui", &request.dev_eui),
            ("JoinEui", &request.join_eui),
            ("LoraNodeType", &request.lora_node_type),
            ("PinCode", &request.pin_code),
        ];
        if let Some((parameter, _)) = strangers.iter().find(|(_, value)| value.is_some()) {
            return Err(errors::invalid(*parameter, "is for LoRaWAN devices, which are not served"));
        }
        let params = DeviceParams { device_name: request.device_name, nickname: request.nickname };
        let product_key = text(request.product_key);
        let registered = self.0.commands.register_device(&caller, now, product_key.as_ref(), &params).await;
        let (product, device) = registered.map_err(status_of)?;
        Ok(Response::new(convert::registered(&product, device)))
    }

    async fn register_devices(
        &self,
        request: Request<v1::RegisterDevicesRequest>,
    ) -> Result<Response<v1::RegisterDevicesResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let product_key = text(request.product_key);
        let devices: Vec<DeviceParams> = request
            .device
            .into_iter()
            .map(|device| DeviceParams { device_name: text(device.device_name), nickname: device.nickname })
            .collect();
        let results = self.0.commands.register_devices(&caller, now, product_key.as_ref(), &devices).await;
        let results = results.map_err(status_of)?.into_iter().map(convert::register_result);
        Ok(Response::new(v1::RegisterDevicesResponse { results: results.collect() }))
    }

    async fn query_device(
        &self,
        request: Request<v1::QueryDeviceRequest>,
    ) -> Result<Response<v1::QueryDeviceResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 50,
        };
        let list = ["QueryDevice", &request.product_key];
        let page: Page<DeviceName> = Page::read(asked, &list, |text| DeviceName::parse(text).ok())?;
        let (key, after) = (text(request.product_key.clone()), page.after.clone());
        let listed = self.0.commands.query_devices(&caller, key.as_ref(), after, page.skip, page.size).await;
        let (product, listed) = listed.map_err(status_of)?;
        let answer = page.answer(listed.total, listed.next);
        Ok(Response::new(v1::QueryDeviceResponse {
            devices: listed.rows.into_iter().map(|view| convert::device_info(&product, view)).collect(),
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn query_device_detail(
        &self,
        request: Request<v1::QueryDeviceDetailRequest>,
    ) -> Result<Response<v1::QueryDeviceDetailResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let which = DeviceRef {
            iot_id: request.iot_id,
            product_key: request.product_key,
            device_name: request.device_name,
        };
        let (product, view) = self.0.commands.query_device(&caller, &which).await.map_err(status_of)?;
        Ok(Response::new(convert::device_detail(&product, view)))
    }

    async fn get_device_status(
        &self,
        request: Request<v1::GetDeviceStatusRequest>,
    ) -> Result<Response<v1::GetDeviceStatusResponse>, Status> {
        let (caller, _, request) = self.0.open(request)?;
        let which = DeviceRef {
            iot_id: request.iot_id,
            product_key: request.product_key,
            device_name: request.device_name,
        };
        let (status, since) = self.0.commands.device_status(&caller, &which).await.map_err(status_of)?;
        Ok(Response::new(v1::GetDeviceStatusResponse {
            status: convert::status(status).into(),
            timestamp: since.map(instant),
        }))
    }
}
