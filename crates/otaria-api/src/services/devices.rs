//! Products and devices.

mod applies;
mod groups;
mod manage;

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

    async fn delete_product(
        &self,
        request: Request<v1::DeleteProductRequest>,
    ) -> Result<Response<v1::DeleteProductResponse>, Status> {
        manage::delete_product(&self.0, request).await.map(Response::new)
    }

    async fn batch_get_device_state(
        &self,
        request: Request<v1::BatchGetDeviceStateRequest>,
    ) -> Result<Response<v1::BatchGetDeviceStateResponse>, Status> {
        manage::batch_get_device_state(&self.0, request).await.map(Response::new)
    }

    async fn delete_device(
        &self,
        request: Request<v1::DeleteDeviceRequest>,
    ) -> Result<Response<v1::DeleteDeviceResponse>, Status> {
        manage::delete_device(&self.0, request).await.map(Response::new)
    }

    async fn disable_thing(
        &self,
        request: Request<v1::DisableThingRequest>,
    ) -> Result<Response<v1::DisableThingResponse>, Status> {
        manage::disable_thing(&self.0, request).await.map(Response::new)
    }

    async fn enable_thing(
        &self,
        request: Request<v1::EnableThingRequest>,
    ) -> Result<Response<v1::EnableThingResponse>, Status> {
        manage::enable_thing(&self.0, request).await.map(Response::new)
    }

    async fn batch_check_device_names(
        &self,
        request: Request<v1::BatchCheckDeviceNamesRequest>,
    ) -> Result<Response<v1::BatchCheckDeviceNamesResponse>, Status> {
        applies::check(&self.0, request).await.map(Response::new)
    }

    async fn batch_register_device(
        &self,
        request: Request<v1::BatchRegisterDeviceRequest>,
    ) -> Result<Response<v1::BatchRegisterDeviceResponse>, Status> {
        applies::register_count(&self.0, request).await.map(Response::new)
    }

    async fn batch_register_device_with_apply_id(
        &self,
        request: Request<v1::BatchRegisterDeviceWithApplyIdRequest>,
    ) -> Result<Response<v1::BatchRegisterDeviceWithApplyIdResponse>, Status> {
        applies::register(&self.0, request).await.map(Response::new)
    }

    async fn query_batch_register_device_status(
        &self,
        request: Request<v1::QueryBatchRegisterDeviceStatusRequest>,
    ) -> Result<Response<v1::QueryBatchRegisterDeviceStatusResponse>, Status> {
        applies::query(&self.0, request).await.map(Response::new)
    }

    async fn query_page_by_apply_id(
        &self,
        request: Request<v1::QueryPageByApplyIdRequest>,
    ) -> Result<Response<v1::QueryPageByApplyIdResponse>, Status> {
        applies::page(&self.0, request).await.map(Response::new)
    }

    async fn create_device_group(
        &self,
        request: Request<v1::CreateDeviceGroupRequest>,
    ) -> Result<Response<v1::CreateDeviceGroupResponse>, Status> {
        groups::create(&self.0, request).await.map(Response::new)
    }

    async fn create_device_dynamic_group(
        &self,
        request: Request<v1::CreateDeviceDynamicGroupRequest>,
    ) -> Result<Response<v1::CreateDeviceDynamicGroupResponse>, Status> {
        groups::create_dynamic(&self.0, request).await.map(Response::new)
    }

    async fn query_dynamic_group_devices(
        &self,
        request: Request<v1::QueryDynamicGroupDevicesRequest>,
    ) -> Result<Response<v1::QueryDynamicGroupDevicesResponse>, Status> {
        groups::dynamic_devices(&self.0, request).await.map(Response::new)
    }

    async fn update_device_group(
        &self,
        request: Request<v1::UpdateDeviceGroupRequest>,
    ) -> Result<Response<v1::UpdateDeviceGroupResponse>, Status> {
        groups::update(&self.0, request).await.map(Response::new)
    }

    async fn delete_device_group(
        &self,
        request: Request<v1::DeleteDeviceGroupRequest>,
    ) -> Result<Response<v1::DeleteDeviceGroupResponse>, Status> {
        groups::delete(&self.0, request).await.map(Response::new)
    }

    async fn query_device_group_info(
        &self,
        request: Request<v1::QueryDeviceGroupInfoRequest>,
    ) -> Result<Response<v1::QueryDeviceGroupInfoResponse>, Status> {
        groups::query(&self.0, request).await.map(Response::new)
    }

    async fn query_device_group_list(
        &self,
        request: Request<v1::QueryDeviceGroupListRequest>,
    ) -> Result<Response<v1::QueryDeviceGroupListResponse>, Status> {
        groups::list(&self.0, request).await.map(Response::new)
    }

    async fn batch_add_device_group_relations(
        &self,
        request: Request<v1::BatchAddDeviceGroupRelationsRequest>,
    ) -> Result<Response<v1::BatchAddDeviceGroupRelationsResponse>, Status> {
        groups::add(&self.0, request).await.map(Response::new)
    }

    async fn batch_delete_device_group_relations(
        &self,
        request: Request<v1::BatchDeleteDeviceGroupRelationsRequest>,
    ) -> Result<Response<v1::BatchDeleteDeviceGroupRelationsResponse>, Status> {
        groups::take(&self.0, request).await.map(Response::new)
    }

    async fn query_device_list_by_device_group(
        &self,
        request: Request<v1::QueryDeviceListByDeviceGroupRequest>,
    ) -> Result<Response<v1::QueryDeviceListByDeviceGroupResponse>, Status> {
        groups::devices(&self.0, request).await.map(Response::new)
    }

    async fn query_device_group_by_device(
        &self,
        request: Request<v1::QueryDeviceGroupByDeviceRequest>,
    ) -> Result<Response<v1::QueryDeviceGroupByDeviceResponse>, Status> {
        groups::of_device(&self.0, request).await.map(Response::new)
    }
}
