//! Shutting out, letting in, deleting, and who is connected.

use otaria_engine::command::{DeviceRef, DeviceStatesParams};
use otaria_proto::v1;
use tonic::{Request, Status};

use super::super::Shared;
use crate::convert::{device as convert, text};
use crate::errors::status_of;

pub(super) async fn delete_product(
    shared: &Shared,
    request: Request<v1::DeleteProductRequest>,
) -> Result<v1::DeleteProductResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let key = text(request.product_key);
    shared.commands.delete_product(&caller, now, key.as_ref()).await.map_err(status_of)?;
    Ok(v1::DeleteProductResponse {})
}

pub(super) async fn batch_get_device_state(
    shared: &Shared,
    request: Request<v1::BatchGetDeviceStateRequest>,
) -> Result<v1::BatchGetDeviceStateResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let v1::BatchGetDeviceStateRequest { product_key, device_name, iot_id } = request;
    let params = DeviceStatesParams { product_key, device_name, iot_id };
    let states = shared.commands.device_states(&caller, &params).await.map_err(status_of)?;
    let device_status_list = states.iter().map(convert::state).collect();
    Ok(v1::BatchGetDeviceStateResponse { device_status_list })
}

pub(super) async fn delete_device(
    shared: &Shared,
    request: Request<v1::DeleteDeviceRequest>,
) -> Result<v1::DeleteDeviceResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let v1::DeleteDeviceRequest { iot_id, product_key, device_name } = request;
    let which = DeviceRef { iot_id, product_key, device_name };
    shared.commands.delete_device(&caller, now, &which).await.map_err(status_of)?;
    Ok(v1::DeleteDeviceResponse {})
}

pub(super) async fn disable_thing(
    shared: &Shared,
    request: Request<v1::DisableThingRequest>,
) -> Result<v1::DisableThingResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let v1::DisableThingRequest { iot_id, product_key, device_name } = request;
    let which = DeviceRef { iot_id, product_key, device_name };
    shared.commands.disable_device(&caller, &which).await.map_err(status_of)?;
    Ok(v1::DisableThingResponse {})
}

pub(super) async fn enable_thing(
    shared: &Shared,
    request: Request<v1::EnableThingRequest>,
) -> Result<v1::EnableThingResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let v1::EnableThingRequest { iot_id, product_key, device_name } = request;
    let which = DeviceRef { iot_id, product_key, device_name };
    shared.commands.enable_device(&caller, &which).await.map_err(status_of)?;
    Ok(v1::EnableThingResponse {})
}
