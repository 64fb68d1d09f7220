//! Registering devices in two steps.

use otaria_proto::v1::{self, BatchRegisterStatus};
use tonic::Code;

use crate::world::{World, because, product, register, why};

fn status_of(product_key: &str, apply_id: i64) -> v1::QueryBatchRegisterDeviceStatusRequest {
    v1::QueryBatchRegisterDeviceStatusRequest { product_key: product_key.into(), apply_id }
}

#[tokio::test]
async fn checked_names_become_devices_once() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    register(&admin, &key, ["taken".to_owned()].into_iter()).await;
    let item = |name: &str, nickname: Option<&str>| v1::DeviceNameItem {
        device_name: name.into(),
        device_nickname: nickname.map(Into::into),
    };
    let request = v1::BatchCheckDeviceNamesRequest {
        product_key: key.clone(),
        device_name: Vec::new(),
        device_name_list: vec![
            item("dev-1", Some("the first")),
            item("dev-2", None),
            item("dev-2", None),
            item("taken", None),
            item("a/b/c", None),
            item("dev-3", Some("abc")),
        ],
    };
    let checked = devices.batch_check_device_names(request).await.unwrap().into_inner();
    assert_eq!(checked.invalid_device_name_list, ["a/b/c"]);
    assert_eq!(checked.invalid_device_nickname_list, ["abc"]);
    assert_eq!(checked.repeated_device_name_list, ["dev-2", "taken"]);
    assert_eq!(checked.invalid_detail_list.len(), 4);
    let asked = status_of(&key, checked.apply_id);
    let before = devices.query_batch_register_device_status(asked.clone()).await.unwrap().into_inner();
    assert_eq!(before.status(), BatchRegisterStatus::CheckFailed);
    assert_eq!(before.valid_list, ["dev-1", "dev-2"]);
    assert_eq!(before.invalid_list.len(), 4);

    let go =
        v1::BatchRegisterDeviceWithApplyIdRequest { product_key: key.clone(), apply_id: checked.apply_id };
    for _ in 0..2 {
        let gone = devices.batch_register_device_with_apply_id(go.clone()).await.unwrap().into_inner();
        assert_eq!(gone.apply_id, checked.apply_id);
    }
    let after = devices.query_batch_register_device_status(asked.clone()).await.unwrap().into_inner();
    assert_eq!(after.status(), BatchRegisterStatus::CreateSuccess);
    let page = v1::QueryPageByApplyIdRequest { apply_id: checked.apply_id, ..Default::default() };
    let page = devices.query_page_by_apply_id(page).await.unwrap().into_inner();
    assert_eq!(page.total, 2);
    let detail = v1::QueryDeviceDetailRequest {
        product_key: Some(key.clone()),
        device_name: Some("dev-1".into()),
        ..Default::default()
    };
    let detail = devices.query_device_detail(detail).await.unwrap().into_inner();
    assert_eq!(detail.nickname.as_deref(), Some("the first"));
    assert_eq!(page.devices[0].device_secret, detail.device_secret);

    let stranger = world.stranger().await;
    let foreign = stranger.devices().query_batch_register_device_status(asked).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    let other = status_of(&product(&admin, "other").await, checked.apply_id);
    let other = devices.query_batch_register_device_status(other).await.unwrap_err();
    assert_eq!(why(&other), because(Code::NotFound, "iot.device.DeviceApplyIsNotFound", ""));
    let missing = devices.query_batch_register_device_status(status_of(&key, 0)).await.unwrap_err();
    assert_eq!(why(&missing), because(Code::InvalidArgument, "MissingApplyId", "ApplyId"));
}

#[tokio::test]
async fn ten_thousand_names_fit_into_a_batch_and_one_more_does_not() {
    let world = World::new().await;
    let (admin, mut devices) = (world.admin(), world.admin().devices());
    let key = product(&admin, "lamp").await;
    let request = |n: usize| v1::BatchCheckDeviceNamesRequest {
        product_key: key.clone(),
        device_name: (0..n).map(|n| format!("device-{n:06}")).collect(),
        device_name_list: Vec::new(),
    };
    let refused = devices.batch_check_device_names(request(10_001)).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::InvalidArgument, "iot.device.DeviceCountExceeded", "DeviceName"));
    assert_eq!(why(&devices.batch_check_device_names(request(0)).await.unwrap_err()).1, "MissingDeviceName");
    let checked = devices.batch_check_device_names(request(10_000)).await.unwrap().into_inner();
    assert!(checked.invalid_detail_list.is_empty());
    let go =
        v1::BatchRegisterDeviceWithApplyIdRequest { product_key: key.clone(), apply_id: checked.apply_id };
    devices.batch_register_device_with_apply_id(go).await.unwrap();
    let by_number = |current_page| v1::QueryPageByApplyIdRequest {
        apply_id: checked.apply_id,
        current_page: Some(current_page),
        ..Default::default()
    };
    let page = devices.query_page_by_apply_id(by_number(1_000)).await.unwrap().into_inner();
    assert_eq!((page.total, page.page_size, page.page_count), (10_000, 10, 1_000));
    assert_eq!(page.devices[9].device_name, "device-009999");
    assert!(page.next_page_token.is_empty());

    let made_up = |count| v1::BatchRegisterDeviceRequest { product_key: key.clone(), count };
    let apply_id = devices.batch_register_device(made_up(3)).await.unwrap().into_inner().apply_id;
    let page = v1::QueryPageByApplyIdRequest { apply_id, ..Default::default() };
    assert_eq!(devices.query_page_by_apply_id(page).await.unwrap().into_inner().devices.len(), 3);
    for count in [0, -1, 10_001] {
        let refused = devices.batch_register_device(made_up(count)).await.unwrap_err();
        assert_eq!(why(&refused).2, "Count");
    }
}
