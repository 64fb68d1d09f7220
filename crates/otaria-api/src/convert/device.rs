//! Products and devices.

use otaria_core::ids::iot_id;
use otaria_engine::command::{
    DeviceState, DeviceStatus, DeviceView, ProductView, RefusedDevice, RegisteredDevice,
};
use otaria_ports::store::{ModuleVersion, Product};
use otaria_proto::v1;

use super::{count, instant, unless_empty};

/// How devices prove who they are: there is no other way.
const AUTH_TYPE: &str = "secret";
/// Alink, the only format in which the server reads device data.
const DATA_FORMAT: i32 = 1;

/// The Alibaba API's number of a node type: one less than ours, since our zero is not given.
pub(crate) fn node_type_number(raw: i32) -> Option<i64> {
    (raw != 0).then(|| i64::from(raw) - 1)
}

pub(crate) fn node_type(product: &Product) -> i32 {
    let node = if product.new.node_type == 1 { v1::NodeType::Gateway } else { v1::NodeType::Device };
    node.into()
}

pub(crate) fn created_product(view: ProductView) -> v1::CreateProductResponse {
    let product = &view.product;
    v1::CreateProductResponse {
        product_key: product.new.key.to_string(),
        product_name: product.new.name.clone(),
        description: unless_empty(&product.new.description),
        auth_type: AUTH_TYPE.into(),
        data_format: DATA_FORMAT,
        node_type: node_type(product),
        product_secret: view.secret.unwrap_or_default(),
        ..v1::CreateProductResponse::default()
    }
}

pub(crate) fn queried_product(view: ProductView) -> v1::QueryProductResponse {
    let product = &view.product;
    v1::QueryProductResponse {
        product_key: product.new.key.to_string(),
        product_name: product.new.name.clone(),
        product_status: "DEVELOPMENT_STATUS".into(),
        description: unless_empty(&product.new.description),
        auth_type: AUTH_TYPE.into(),
        data_format: DATA_FORMAT,
        device_count: count(product.device_count),
        node_type: node_type(product),
        utc_create: Some(instant(product.created_at)),
        owner: true,
        product_secret: view.secret,
        ..v1::QueryProductResponse::default()
    }
}

pub(crate) fn product_info(product: &Product) -> v1::ProductInfo {
    v1::ProductInfo {
        product_key: product.new.key.to_string(),
        product_name: product.new.name.clone(),
        description: unless_empty(&product.new.description),
        auth_type: AUTH_TYPE.into(),
        data_format: DATA_FORMAT,
        device_count: count(product.device_count),
        node_type: node_type(product),
        utc_create: Some(instant(product.created_at)),
    }
}

pub(crate) fn registered(product: &Product, device: RegisteredDevice) -> v1::RegisterDeviceResponse {
    v1::RegisterDeviceResponse {
        product_key: product.new.key.to_string(),
        device_name: device.name.to_string(),
        iot_id: iot_id(device.id),
        device_secret: device.secret,
        nickname: device.nickname,
        dev_eui: None,
        join_eui: None,
    }
}

pub(crate) fn register_result(result: Result<RegisteredDevice, RefusedDevice>) -> v1::RegisterDeviceResult {
    use v1::register_device_result::Result as Outcome;

    let result = match result {
        Ok(device) => Outcome::Device(v1::RegisteredDevice {
            device_name: device.name.to_string(),
            iot_id: iot_id(device.id),
            device_secret: device.secret,
        }),
        Err(refused) => Outcome::Error(v1::RegisterDeviceError {
            device_name: refused.name,
            code: refused.code,
            message: refused.message,
        }),
    };
    v1::RegisterDeviceResult { result: Some(result) }
}

pub(crate) fn status(status: DeviceStatus) -> v1::DeviceStatus {
    match status {
        DeviceStatus::Online => v1::DeviceStatus::Online,
        DeviceStatus::Offline => v1::DeviceStatus::Offline,
        DeviceStatus::Unactive => v1::DeviceStatus::Unactive,
        DeviceStatus::Disable => v1::DeviceStatus::Disable,
    }
}

fn versions(versions: &[ModuleVersion]) -> Vec<v1::ModuleVersion> {
    let version = |version: &ModuleVersion| v1::ModuleVersion {
        module_name: version.module.to_string(),
        module_version: version.version.as_str().to_owned(),
    };
    versions.iter().map(version).collect()
}

pub(crate) fn device_info(product: &Product, view: DeviceView) -> v1::DeviceInfo {
    let device = &view.device;
    v1::DeviceInfo {
        product_key: product.new.key.to_string(),
        device_name: device.name.to_string(),
        device_id: iot_id(device.id),
        iot_id: iot_id(device.id),
        device_status: status(view.status).into(),
        device_type: String::new(),
        nickname: device.nickname.clone(),
        utc_create: Some(instant(device.created_at)),
        utc_modified: Some(instant(device.created_at)),
        module_versions: versions(&view.versions),
        device_secret: view.secret,
    }
}

pub(crate) fn device_detail(product: &Product, view: DeviceView) -> v1::QueryDeviceDetailResponse {
    let device = &view.device;
    let main = view.versions.iter().find(|version| version.module.is_default());
    v1::QueryDeviceDetailResponse {
        product_key: product.new.key.to_string(),
        product_name: product.new.name.clone(),
        device_name: device.name.to_string(),
        iot_id: iot_id(device.id),
        nickname: device.nickname.clone(),
        node_type: node_type(product),
        status: status(view.status).into(),
        firmware_version: main.map(|version| version.version.as_str().to_owned()),
        ip_address: None,
        region: String::new(),
        owner: true,
        utc_create: Some(instant(device.created_at)),
        utc_active: device.active_at.map(instant),
        utc_online: device.online_at.map(instant),
        module_versions: versions(&view.versions),
        device_secret: view.secret,
    }
}

pub(crate) fn state(state: &DeviceState) -> v1::DeviceState {
    let device = &state.device;
    let online = state.status == DeviceStatus::Online;
    v1::DeviceState {
        device_name: device.name.to_string(),
        device_id: iot_id(device.id),
        iot_id: iot_id(device.id),
        as_address: None,
        status: status(state.status).into(),
        timestamp: device.online_at.filter(|_| online).map(instant),
        utc_last_online_time: device.online_at.map(instant),
    }
}

pub(crate) fn module_info(
    product: &Product,
    view: &DeviceView,
    row: &ModuleVersion,
) -> v1::SimpleOtaModuleInfo {
    v1::SimpleOtaModuleInfo {
        product_key: product.new.key.to_string(),
        device_name: view.device.name.to_string(),
        iot_id: iot_id(view.device.id),
        module_name: row.module.to_string(),
        module_version: row.version.as_str().to_owned(),
    }
}
