//! gRPC.

use otaria_proto::v1::{
    CreateOtaFirmwareRequest, CreateOtaStaticUpgradeJobRequest, CreateProductRequest, GetServerInfoRequest,
    ListOtaFirmwareRequest, ListOtaTaskByJobRequest, NewDevice, NodeType, QueryDeviceRequest,
    QueryOtaJobRequest, QueryProductListRequest, RegisterDevicesRequest, Tag, TargetSelection,
    register_device_result,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::faces::{Faces, assert_denied, assert_refused};
use crate::rollout::{firmware, names_job, product, query, register, tasks};
use crate::server::Server;

const BAD: Code = Code::InvalidArgument;

#[tokio::test]
async fn products_and_devices_that_cannot_be() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let good = CreateProductRequest {
        product_name: "good_name".to_owned(),
        node_type: NodeType::Device.into(),
        ..CreateProductRequest::default()
    };
    let format = "iot.prod.InvalidFormattedProductName";
    for (name, node_type, field, reason) in [
        ("x".repeat(31), 1, "ProductName", format),
        ("x".repeat(100_000), 1, "ProductName", format),
        ("abc".to_owned(), 1, "ProductName", format),
        ("no blanks".to_owned(), 1, "ProductName", format),
        ("nul\0nul".to_owned(), 1, "ProductName", format),
        (String::new(), 1, "ProductName", "MissingProductName"),
        ("good_name".to_owned(), 0, "NodeType", "MissingNodeType"),
        ("good_name".to_owned(), 77, "NodeType", "InvalidNodeType"),
        ("good_name".to_owned(), -1, "NodeType", "InvalidNodeType"),
    ] {
        let request = CreateProductRequest { product_name: name, node_type, ..good.clone() };
        assert_refused(faces.devices().create_product(request).await, (BAD, field, reason));
    }
    let listed = faces.devices().query_product_list(QueryProductListRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().total, 0, "nothing half-made");

    let product_key = faces.devices().create_product(good.clone()).await.unwrap().into_inner().product_key;
    let again = faces.devices().create_product(good).await;
    assert_denied(again, (Code::AlreadyExists, "iot.prod.AlreadyExistedProductName"));

    let call = async |count: usize, product_key: &str| {
        let named = |n: usize| NewDevice { device_name: format!("unit-{n:05}"), nickname: None };
        let request = RegisterDevicesRequest {
            product_key: product_key.to_owned(),
            device: (0..count).map(named).collect(),
        };
        faces.devices().register_devices(request).await
    };
    let exceeded = (BAD, "Device", "iot.device.DeviceCountExceeded");
    let rule = assert_refused(call(20_001, &product_key).await, exceeded);
    assert!(rule.contains("20000") || rule.contains("20,000"), "{rule}");
    assert_refused(call(0, &product_key).await, (BAD, "Device", "MissingDevice"));
    assert_denied(call(1, "a1nobody000").await, (Code::NotFound, "iot.prod.NotExistedProduct"));
    assert_eq!(devices(&faces, &product_key).await, Vec::<String>::new());

    // Each device on its own: those that are right are registered, the others say why not.
    let names = ["dup-1", "dup-1", "abc", "has blank", "good-2", "ünicode", "", "good-2"];
    let long = "x".repeat(33);
    let device = names.iter().copied().chain([long.as_str()]);
    let device = device.map(|name| NewDevice { device_name: name.to_owned(), nickname: None }).collect();
    let request = RegisterDevicesRequest { product_key: product_key.clone(), device };
    let results = faces.devices().register_devices(request).await.unwrap().into_inner().results;
    let (taken, wrong) = ("iot.device.AlreadyExistedDeviceName", "iot.device.InvalidFormattedDeviceName");
    let codes = results.into_iter().map(|result| match result.result.unwrap() {
        register_device_result::Result::Device(_) => String::new(),
        register_device_result::Result::Error(error) => {
            assert!(!error.message.is_empty());
            error.code
        }
    });
    assert_eq!(codes.collect::<Vec<_>>(), ["", taken, wrong, wrong, "", wrong, "", taken, wrong]);
    let found = devices(&faces, &product_key).await;
    assert_eq!(found.len(), 3, "with the one whose name is made up: {found:?}");
    assert!(found.contains(&"dup-1".to_owned()) && found.contains(&"good-2".to_owned()));
    server.assert_healthy().await;
}

async fn devices(faces: &Faces, product_key: &str) -> Vec<String> {
    let request = QueryDeviceRequest { product_key: product_key.to_owned(), ..QueryDeviceRequest::default() };
    let devices = faces.devices().query_device(request).await.unwrap().into_inner().devices;
    devices.into_iter().map(|device| device.device_name).collect()
}

#[tokio::test]
async fn firmware_and_jobs_that_cannot_be() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let product = product(&faces, "malformed").await;
    register(&faces, &product, (0..3).map(|n| format!("unit-{n}"))).await;
    refuse_firmware(&faces, &product).await;
    let firmware = firmware(&faces, &product, "2.0.0").await;

    type Request = CreateOtaStaticUpgradeJobRequest;
    type Case = (fn(&mut Request), Code, &'static str, &'static str);
    let targets = "iot.ota.InvalidTargetDevices";
    let cases: &[Case] = &[
        (|r| r.product_key = String::new(), BAD, "ProductKey", "MissingProductKey"),
        (|r| r.product_key = "x".repeat(10_000), BAD, "ProductKey", "iot.prod.InvalidFormattedProductkey"),
        (|r| r.firmware_id = String::new(), BAD, "FirmwareId", "MissingFirmwareId"),
        (|r| r.target_selection = 0, BAD, "TargetSelection", "MissingTargetSelection"),
        (|r| r.target_selection = -3, BAD, "TargetSelection", "iot.ota.InvalidTargetSelection"),
        (|r| r.target_device_name.clear(), BAD, "TargetDeviceName", "MissingTargetDeviceName"),
        (|r| r.target_device_name.push("unit-0".into()), BAD, "TargetDeviceName.2", targets),
        (|r| r.target_device_name.push("x".repeat(999)), BAD, "TargetDeviceName.2", targets),
        (|r| r.target_device_name = vec!["unit-0".into(); 201], BAD, "TargetDeviceName", targets),
        (|r| r.maximum_per_minute = Some(-5), BAD, "MaximumPerMinute", "iot.ota.InvalidMaximumPerMinute"),
        (|r| r.maximum_per_minute = Some(0), BAD, "MaximumPerMinute", "iot.ota.InvalidMaximumPerMinute"),
        (|r| r.maximum_per_minute = Some(9), BAD, "MaximumPerMinute", "iot.ota.InvalidMaximumPerMinute"),
        (|r| r.maximum_per_minute = Some(10_001), BAD, "MaximumPerMinute", "iot.ota.InvalidMaximumPerMinute"),
        (|r| r.retry_count = Some(1), BAD, "RetryInterval", "MissingRetryInterval"),
        (
            |r| (r.retry_interval, r.retry_count) = (Some(-10), Some(1)),
            BAD,
            "RetryInterval",
            "iot.ota.InvalidRetry",
        ),
        (
            |r| (r.retry_interval, r.retry_count) = (Some(0), Some(3)),
            BAD,
            "RetryCount",
            "iot.ota.InvalidRetry",
        ),
        (|r| r.timeout_in_minutes = Some(0), BAD, "TimeoutInMinutes", "iot.ota.InvalidTimeout"),
        (|r| r.timeout_in_minutes = Some(-1), BAD, "TimeoutInMinutes", "iot.ota.InvalidTimeout"),
        (|r| r.timeout_in_minutes = Some(1_441), BAD, "TimeoutInMinutes", "iot.ota.InvalidTimeout"),
        (|r| r.offer_timeout_in_minutes = Some(-1), BAD, "OfferTimeoutInMinutes", "iot.ota.InvalidTimeout"),
        (|r| r.gray_percent = Some("50".into()), BAD, "GrayPercent", "iot.ota.InvalidGrayPercent"),
        (|r| r.tag = vec![tag("a"); 11], BAD, "Tag", "iot.ota.InvalidTags"),
        (|r| r.tag = vec![tag("no blanks")], BAD, "Tag.1.Key", "iot.ota.InvalidTags"),
        (|r| r.client_token = Some("x".repeat(65)), BAD, "ClientToken", "InvalidClientToken"),
        (
            |r| (r.target_selection, r.src_version) = (TargetSelection::All.into(), vec!["1".into()]),
            BAD,
            "TargetDeviceName",
            targets,
        ),
    ];
    let mut wrong = Vec::new();
    for (n, (change, code, field, reason)) in cases.iter().enumerate() {
        let mut request = names_job(&product, &firmware, ["unit-0"]);
        change(&mut request);
        match faces.jobs().create_ota_static_upgrade_job(request).await {
            Ok(_) => wrong.push(format!("case {n}, {field}: accepted")),
            Err(status) if said(&status) == (*code, (*field).to_owned(), (*reason).to_owned()) => {}
            Err(status) => wrong.push(format!("case {n}, {field}: {:?} {}", said(&status), status.message())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    let unknown = |change: fn(&mut Request)| {
        let mut request = names_job(&product, &firmware, ["unit-0"]);
        change(&mut request);
        let faces = faces.clone();
        async move { faces.jobs().create_ota_static_upgrade_job(request).await }
    };
    let lost = |reason| (Code::NotFound, reason);
    assert_denied(
        unknown(|r| r.product_key = "a1nobody000".into()).await,
        lost("iot.prod.NotExistedProduct"),
    );
    assert_denied(unknown(|r| r.firmware_id = "nobody".into()).await, lost("iot.ota.FirmwareNotFound"));
    let refused = unknown(|r| r.target_device_name.push("ghost-1".into())).await;
    let rule = assert_refused(refused, (BAD, "TargetDeviceName.2", targets));
    assert!(rule.contains("ghost-1") || rule.contains("TargetDeviceName.2"), "{rule}");

    let job = QueryOtaJobRequest { job_id: "nobody".into() };
    assert_denied(faces.jobs().query_ota_job(job).await, lost("iot.ota.JobNotFound"));
    let job = QueryOtaJobRequest { job_id: String::new() };
    assert_refused(faces.jobs().query_ota_job(job).await, (BAD, "JobId", "MissingJobId"));

    // Nothing of all this took the devices: a job over them finds them free.
    let request = names_job(&product, &firmware, ["unit-0", "unit-1", "unit-2"]);
    let job = faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id;
    let expansion = query(&faces, &job).await.expansion.unwrap();
    assert_eq!((expansion.tasks, expansion.busy), (3, 0));
    assert_eq!(tasks(&faces, &job).await.len(), 3);
    for (page_size, page_token) in [(0, ""), (-1, ""), (1_001, ""), (10, "no token"), (10, "\u{fe0f}")] {
        let request = ListOtaTaskByJobRequest {
            job_id: job.clone(),
            page_size: Some(page_size),
            page_token: page_token.to_owned(),
            ..ListOtaTaskByJobRequest::default()
        };
        let field = if page_token.is_empty() { "PageSize" } else { "PageToken" };
        let refused = faces.tasks().list_ota_task_by_job(request).await.unwrap_err();
        let (code, found, _) = said(&refused);
        assert_eq!((code, found.as_str()), (BAD, field), "{refused:?}");
    }
    server.assert_healthy().await;
}

fn tag(key: &str) -> Tag {
    Tag { key: key.to_owned(), value: "v".to_owned() }
}

/// Code, parameter and reason of a refusal.
fn said(status: &Status) -> (Code, String, String) {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
    let field = violations.first().map(|violation| violation.field.clone()).unwrap_or_default();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    (status.code(), field, reason)
}

async fn refuse_firmware(faces: &Faces, product: &str) {
    let good = CreateOtaFirmwareRequest {
        firmware_name: "fw".to_owned(),
        dest_version: "2.0.0".to_owned(),
        firmware_url: Some("http://127.0.0.1:1/o/nobody".to_owned()),
        product_key: product.to_owned(),
        ..CreateOtaFirmwareRequest::default()
    };
    type Case = (fn(&mut CreateOtaFirmwareRequest), &'static str);
    let cases: &[Case] = &[
        (|r| r.firmware_name = "x".repeat(41), "FirmwareName"),
        (|r| r.firmware_name = "-begins wrong".into(), "FirmwareName"),
        (|r| r.firmware_name = String::new(), "FirmwareName"),
        (|r| r.dest_version = "x".repeat(65), "DestVersion"),
        (|r| r.dest_version = "a b".into(), "DestVersion"),
        (|r| r.firmware_desc = Some("x".repeat(101)), "FirmwareDesc"),
        (|r| r.firmware_size = Some(-1), "FirmwareSize"),
        (|r| r.sign_method = Some("CRC".into()), "SignMethod"),
        (|r| r.r#type = 9, "Type"),
        (|r| r.udi = Some("x".repeat(4_097)), "Udi"),
        (|r| r.firmware_url = None, "FirmwareUrl"),
        (|_| (), "FirmwareUrl"),
    ];
    for (change, field) in cases {
        let mut request = good.clone();
        change(&mut request);
        let refused = faces.firmware().create_ota_firmware(request).await.unwrap_err();
        let (code, found, reason) = said(&refused);
        assert_eq!((code, found.as_str()), (BAD, *field), "{refused:?}");
        assert!(!reason.is_empty() && refused.message().contains(field), "{refused:?}");
    }
    let listed = faces.firmware().list_ota_firmware(ListOtaFirmwareRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().total, 0, "nothing half-made");
}

#[tokio::test]
async fn callers_who_do_not_say_who_they_are() {
    let mut server = Server::start().await;
    let [id, secret] = server.admin_key();
    let asks = async |authorization: Option<&str>| {
        let faces = Faces::saying(server.at().grpc, authorization);
        faces.access().get_server_info(GetServerInfoRequest {}).await
    };
    for authorization in [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".to_owned()),
        Some(format!("Bearer {id}")),
        Some(format!("Basic {id}:{secret}")),
        Some(format!("{id}:{secret}")),
        Some("x".repeat(8_000)),
    ] {
        let refused = asks(authorization.as_deref()).await;
        assert_denied(refused, (Code::Unauthenticated, "IncompleteSignature"));
    }
    for (authorization, reason) in [
        (format!("Bearer {id}:"), "SignatureDoesNotMatch"),
        (format!("Bearer {id}:{secret}x"), "SignatureDoesNotMatch"),
        (format!("Bearer {id}:{}", "x".repeat(8_000)), "SignatureDoesNotMatch"),
        (format!("Bearer :{secret}"), "InvalidAccessKeyId.NotFound"),
        (format!("Bearer {id}0:{secret}"), "InvalidAccessKeyId.NotFound"),
        (format!("Bearer ' or 1=1 --:{secret}"), "InvalidAccessKeyId.NotFound"),
    ] {
        assert_denied(asks(Some(&authorization)).await, (Code::Unauthenticated, reason));
    }
    asks(Some(&format!("bearer {id}:{secret}"))).await.expect("the scheme's case does not matter");
    server.assert_healthy().await;
}

#[tokio::test]
async fn messages_that_are_too_large_or_none_at_all() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let request = CreateProductRequest {
        product_name: "x".repeat(17 << 20),
        node_type: NodeType::Device.into(),
        ..CreateProductRequest::default()
    };
    let refused = faces.devices().create_product(request).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    assert!(refused.message().contains("16777216"), "{refused:?}");

    // A number where a text belongs, and a text that is not UTF-8.
    let number = faces
        .raw("OtaJobService/QueryOTAJob", prost_types::Duration { seconds: 7, nanos: 0 })
        .await
        .unwrap_err();
    assert_eq!((number.code(), number.message().contains("job_id")), (Code::Internal, true), "{number:?}");

    // Not protobuf, not gRPC, not HTTP/2.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01", &[0xff; 4_096]] {
        crate::http::blurt(server.at().grpc, bytes).await;
    }
    let listed = faces.devices().query_product_list(QueryProductListRequest::default()).await;
    assert_eq!(listed.unwrap().into_inner().total, 0);
    server.assert_healthy().await;
}
