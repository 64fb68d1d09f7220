//! Products and devices.

use otaria_core::ids::parse_iot_id;
use otaria_ports::presence::Presence;
use otaria_proto::v1::register_device_result::Result as Outcome;
use otaria_proto::v1::{self, DeviceStatus};
use tonic::Code;

use crate::world::{World, because, product, register, why};

fn new(name: &str) -> v1::NewDevice {
    v1::NewDevice { device_name: name.into(), nickname: None }
}

#[tokio::test]
async fn a_product_is_made_once_and_found() {
    let world = World::new().await;
    let admin = world.admin();
    let key = product(&admin, "lamp_1").await;
    let request = v1::CreateProductRequest {
        product_name: "lamp_1".into(),
        node_type: v1::NodeType::Gateway.into(),
        ..Default::default()
    };
    let twice = admin.devices().create_product(request.clone()).await.unwrap_err();
    assert_eq!(why(&twice), because(Code::AlreadyExists, "iot.prod.AlreadyExistedProductName", ""));
    let short = v1::CreateProductRequest { product_name: "a".into(), ..request.clone() };
    let short = admin.devices().create_product(short).await.unwrap_err();
    assert_eq!(why(&short).2, "ProductName");
    let untyped = v1::CreateProductRequest { product_name: "lamp_2".into(), node_type: 0, ..request.clone() };
    let untyped = admin.devices().create_product(untyped).await.unwrap_err();
    assert_eq!(why(&untyped), because(Code::InvalidArgument, "MissingNodeType", "NodeType"));
    let odd = v1::CreateProductRequest { product_name: "lamp_2".into(), node_type: 9, ..request };
    assert_eq!(why(&admin.devices().create_product(odd).await.unwrap_err()).2, "NodeType");

    let found = v1::QueryProductRequest { product_key: key.clone() };
    let found = admin.devices().query_product(found).await.unwrap().into_inner();
    assert_eq!((found.product_name.as_str(), found.device_count, found.owner), ("lamp_1", 0, true));
    let list = v1::QueryProductListRequest { current_page: Some(1), ..Default::default() };
    let list = admin.devices().query_product_list(list).await.unwrap().into_inner();
    assert_eq!((list.total, list.current_page, list.page_count), (1, Some(1), 1));
    assert_eq!(list.products[0].product_key, key);
    let bad = v1::QueryProductRequest { product_key: "no/key".into() };
    let bad = admin.devices().query_product(bad).await.unwrap_err();
    assert_eq!(why(&bad).1, "iot.prod.InvalidFormattedProductkey");
}

#[tokio::test]
async fn a_device_gets_a_name_and_a_secret() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let product_key = product(&admin, "lamp").await;
    let request = v1::RegisterDeviceRequest { product_key: product_key.clone(), ..Default::default() };
    let made_up = devices.register_device(request.clone()).await.unwrap().into_inner();
    assert!(made_up.device_name.len() >= 4);
    assert_eq!(made_up.device_secret.len(), 32);

    let named = v1::RegisterDeviceRequest { device_name: Some("dev-1".into()), ..request.clone() };
    let first = devices.register_device(named.clone()).await.unwrap().into_inner();
    let twice = devices.register_device(named).await.unwrap_err();
    assert_eq!(why(&twice), because(Code::AlreadyExists, "iot.device.AlreadyExistedDeviceName", ""));
    for bad in ["abc", "a/b/c", "dev 1", "#device", &"x".repeat(10_000)] {
        let bad = v1::RegisterDeviceRequest { device_name: Some(bad.into()), ..request.clone() };
        let refused = devices.register_device(bad).await.unwrap_err();
        assert_eq!(
            why(&refused),
            because(Code::InvalidArgument, "iot.device.InvalidFormattedDeviceName", "DeviceName")
        );
    }
    let lora = v1::RegisterDeviceRequest { dev_eui: Some("1".into()), ..request };
    assert_eq!(why(&devices.register_device(lora).await.unwrap_err()).2, "DevEui");

    let detail = v1::QueryDeviceDetailRequest { iot_id: Some(first.iot_id.clone()), ..Default::default() };
    let detail = devices.query_device_detail(detail).await.unwrap().into_inner();
    assert_eq!(detail.device_name, "dev-1");
    assert_eq!(detail.device_secret.as_deref(), Some(first.device_secret.as_str()));
    assert_eq!(detail.status(), DeviceStatus::Unactive);
}

#[tokio::test]
async fn the_status_of_a_device_is_that_of_its_connection() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let product_key = product(&admin, "lamp").await;
    register(&admin, &product_key, ["dev-1".to_owned()].into_iter()).await;
    let which = v1::QueryDeviceDetailRequest {
        product_key: Some(product_key.clone()),
        device_name: Some("dev-1".into()),
        ..Default::default()
    };
    let detail = devices.query_device_detail(which).await.unwrap().into_inner();
    let id = parse_iot_id(&detail.iot_id).unwrap();
    let session = world.presence.connect(id).await.unwrap().session;
    world.shell.deps.store.connected(&[(id, crate::world::START)]).await.unwrap();

    let which = v1::GetDeviceStatusRequest { iot_id: Some(detail.iot_id), ..Default::default() };
    let status = devices.get_device_status(which.clone()).await.unwrap().into_inner();
    assert_eq!(status.status(), DeviceStatus::Online);
    assert!(status.timestamp.is_some());
    world.presence.disconnect(id, session).await.unwrap();
    let status = devices.get_device_status(which).await.unwrap().into_inner();
    assert_eq!(status.status(), DeviceStatus::Offline);

    let unknown = |request: v1::GetDeviceStatusRequest| async {
        why(&world.admin().devices().get_device_status(request).await.unwrap_err())
    };
    let named = v1::GetDeviceStatusRequest {
        product_key: Some(product_key),
        device_name: Some("dev-9".into()),
        ..Default::default()
    };
    assert_eq!(unknown(named).await, because(Code::NotFound, "iot.device.NotExistedDevice", ""));
    let nothing = v1::GetDeviceStatusRequest::default();
    assert_eq!(unknown(nothing).await, because(Code::InvalidArgument, "MissingDeviceName", "DeviceName"));
    let odd = v1::GetDeviceStatusRequest { iot_id: Some("nonsense".into()), ..Default::default() };
    assert_eq!(unknown(odd).await.0, Code::NotFound);
    let stranger = world.stranger().await;
    let foreign =
        v1::GetDeviceStatusRequest { iot_id: Some(otaria_core::ids::iot_id(id)), ..Default::default() };
    assert_eq!(stranger.devices().get_device_status(foreign).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_batch_answers_for_each_device_on_its_own() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let product_key = product(&admin, "lamp").await;
    register(&admin, &product_key, ["dev-0".to_owned()].into_iter()).await;

    let device = ["dev-0", "dev-1", "dev-1", "d/e/v", "", "dev-2"].map(new).to_vec();
    let request = v1::RegisterDevicesRequest { product_key: product_key.clone(), device };
    let results = devices.register_devices(request).await.unwrap().into_inner().results;
    let outcomes: Vec<Result<String, (String, String)>> = results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            Outcome::Device(device) => Ok(device.device_name),
            Outcome::Error(error) => Err((error.device_name, error.code)),
        })
        .collect();
    let taken = |name: &str| Err((name.to_owned(), "iot.device.AlreadyExistedDeviceName".to_owned()));
    assert_eq!(outcomes[0], taken("dev-0"));
    assert_eq!(outcomes[1], Ok("dev-1".into()));
    assert_eq!(outcomes[2], taken("dev-1"));
    assert_eq!(outcomes[3], Err(("d/e/v".into(), "iot.device.InvalidFormattedDeviceName".into())));
    assert!(outcomes[4].as_ref().unwrap().len() >= 4);
    assert_eq!(outcomes[5], Ok("dev-2".into()));

    let query = v1::QueryProductRequest { product_key };
    assert_eq!(devices.query_product(query).await.unwrap().into_inner().device_count, 4);
}

#[tokio::test]
async fn twenty_thousand_devices_are_registered_in_one_call_and_one_more_is_not() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let product_key = product(&admin, "lamp").await;
    let names = |n: usize| (0..n).map(|n| new(&format!("device-{n:06}"))).collect();
    let request = v1::RegisterDevicesRequest { product_key: product_key.clone(), device: names(20_001) };
    let refused = devices.register_devices(request).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::InvalidArgument, "iot.device.DeviceCountExceeded", "Device"));
    let none = v1::RegisterDevicesRequest { product_key: product_key.clone(), device: Vec::new() };
    assert_eq!(why(&devices.register_devices(none).await.unwrap_err()).1, "MissingDevice");
    register(&admin, &product_key, (0..20_000).map(|n| format!("device-{n:06}"))).await;

    let (mut token, mut seen) = (String::new(), Vec::new());
    while seen.len() < 2_500 {
        let request = v1::QueryDeviceRequest {
            product_key: product_key.clone(),
            page_size: Some(1_000),
            page_token: token,
            ..Default::default()
        };
        let page = devices.query_device(request).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count, page.current_page), (20_000, 20, None));
        seen.extend(page.devices.into_iter().map(|device| device.device_name));
        token = page.next_page_token;
    }
    assert!(seen.is_sorted() && seen[0] == "device-000000" && seen[2_999] == "device-002999");

    let numbered = |current_page| v1::QueryDeviceRequest {
        product_key: product_key.clone(),
        page_size: Some(50),
        current_page: Some(current_page),
        ..Default::default()
    };
    let page = devices.query_device(numbered(41)).await.unwrap().into_inner();
    assert_eq!((page.devices[0].device_name.as_str(), page.current_page), ("device-002000", Some(41)));
    let page = devices.query_device(numbered(401)).await.unwrap().into_inner();
    assert!(page.devices.is_empty() && page.next_page_token.is_empty());
    let beyond = devices.query_device(numbered(2_001)).await.unwrap_err();
    assert_eq!(why(&beyond), because(Code::InvalidArgument, "iot.common.InvalidPageParams", "CurrentPage"));
    let foreign = v1::QueryDeviceRequest {
        product_key: product(&admin, "other").await,
        page_token: token,
        ..Default::default()
    };
    let foreign = devices.query_device(foreign).await.unwrap_err();
    assert_eq!(why(&foreign).2, "PageToken");
}
