//! Uploads and packages.

use std::sync::Arc;

use bytes::Bytes;
use otaria_core::list::ListLimits;
use otaria_core::rules::Limits;
use otaria_ports::objects::Objects;
use otaria_ports::quotas::NoQuotas;
use otaria_proto::v1;
use otaria_proto::v1::upload_device_name_list_request::Part as ListPart;
use otaria_proto::v1::upload_firmware_file_request::Part as FilePart;
use tonic::{Code, Status};

use crate::world::{Caller, World, because, firmware, product, upload, why};

async fn send(caller: &Caller, parts: Vec<FilePart>) -> Result<v1::UploadFirmwareFileResponse, Status> {
    let parts = parts.into_iter().map(|part| v1::UploadFirmwareFileRequest { part: Some(part) });
    let stream = tokio_stream::iter(parts.collect::<Vec<_>>());
    caller.firmware().upload_firmware_file(stream).await.map(tonic::Response::into_inner)
}

fn header(header: v1::UploadFirmwareFileHeader) -> FilePart {
    FilePart::Header(header)
}

fn chunk(content: &'static [u8]) -> FilePart {
    FilePart::Chunk(Bytes::from_static(content))
}

async fn send_list(
    caller: &Caller,
    parts: Vec<ListPart>,
) -> Result<v1::UploadDeviceNameListResponse, Status> {
    let parts = parts.into_iter().map(|part| v1::UploadDeviceNameListRequest { part: Some(part) });
    let stream = tokio_stream::iter(parts.collect::<Vec<_>>());
    caller.jobs().upload_device_name_list(stream).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn an_upload_is_what_was_announced_or_nothing() {
    let world = World::new().await;
    let admin = world.admin();
    let of = v1::UploadFirmwareFileHeader::default;
    let good = v1::UploadFirmwareFileHeader {
        file_suffix: Some("tar.gz".into()),
        size_bytes: Some(11),
        md5: Some("5EB63BBBE01EEED093CB22BB8F5ACDC3".into()),
        sha256: None,
    };
    let sent = send(&admin, vec![header(good), chunk(b"hello "), chunk(b"world")]).await.unwrap();
    assert_eq!((sent.size_bytes, sent.md5.as_str()), (11, "5eb63bbbe01eeed093cb22bb8f5acdc3"));
    assert_eq!(sent.sha256.len(), 64);
    assert!(sent.firmware_url.starts_with("http://127.0.0.1:8080/o/"));

    let wrong = [
        (v1::UploadFirmwareFileHeader { size_bytes: Some(4), ..of() }, "iot.ota.FirmwareMismatch"),
        (v1::UploadFirmwareFileHeader { size_bytes: Some(6), ..of() }, "iot.ota.FirmwareMismatch"),
        (v1::UploadFirmwareFileHeader { md5: Some("0".repeat(32)), ..of() }, "iot.ota.FirmwareMismatch"),
        (v1::UploadFirmwareFileHeader { sha256: Some("0".repeat(64)), ..of() }, "iot.ota.FirmwareMismatch"),
        (v1::UploadFirmwareFileHeader { file_suffix: Some("exe".into()), ..of() }, "InvalidFileSuffix"),
        (v1::UploadFirmwareFileHeader { sha256: Some("0".into()), ..of() }, "InvalidSha256"),
        (v1::UploadFirmwareFileHeader { size_bytes: Some(i64::MAX), ..of() }, "InvalidSizeBytes"),
    ];
    for (announced, reason) in wrong {
        let refused = send(&admin, vec![header(announced), chunk(b"hello")]).await.unwrap_err();
        assert_eq!(why(&refused).1, reason);
    }
    let headless = send(&admin, vec![chunk(b"hello")]).await.unwrap_err();
    assert_eq!(why(&headless), because(Code::InvalidArgument, "InvalidHeader", "Header"));
    let twice = send(&admin, vec![header(of()), header(of())]).await.unwrap_err();
    assert_eq!(twice.code(), Code::InvalidArgument);
    let empty = send(&admin, vec![header(of())]).await.unwrap_err();
    assert_eq!(why(&empty), because(Code::InvalidArgument, "InvalidFile", "File"));
    // All that is there is the one good upload.
    assert_eq!(format!("{:?}", world.objects).matches("package/").count(), 1);
    world.objects.check().await.unwrap();
}

#[tokio::test]
async fn a_file_larger_than_allowed_is_refused_while_it_comes() {
    let limits = Limits {
        firmware_max_bytes: 8,
        list: ListLimits { max_lines: 2, max_bytes: 20 },
        ..Limits::default()
    };
    let world = World::with(limits, Arc::new(NoQuotas), None).await;
    let admin = world.admin();
    let first = header(v1::UploadFirmwareFileHeader::default());
    let refused = send(&admin, vec![first, chunk(b"hello "), chunk(b"world")]).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::InvalidArgument, "InvalidFile", "File"));

    let list = |text: &'static [u8]| vec![ListPart::Chunk(Bytes::from_static(text))];
    let code = "iot.ota.DeviceListFileInvalid";
    for bad in [&b"dev1\ndev2\ndev3"[..], &b"                     "[..], b"", b" \r\n\n"] {
        let refused = send_list(&admin, list(bad)).await.unwrap_err();
        assert_eq!(why(&refused), because(Code::InvalidArgument, code, "File"));
    }
    let sent = send_list(&admin, list(b"\xef\xbb\xbfdev1\r\n\r\ndev2")).await.unwrap();
    assert_eq!((sent.line_count, sent.size_bytes), (2, 15));
    let announced = v1::UploadDeviceNameListHeader { size_bytes: Some(3), sha256: None };
    let refused = send_list(&admin, vec![ListPart::Header(announced), ListPart::Chunk("dev1".into())]).await;
    assert_eq!(why(&refused.unwrap_err()).1, code);
}

#[tokio::test]
async fn a_firmware_is_made_of_an_upload_and_found() {
    let world = World::new().await;
    let admin = world.admin();
    let product_key = product(&admin, "lamp").await;
    let sent = upload(&admin, b"package").await;
    let request = v1::CreateOtaFirmwareRequest {
        firmware_name: "fw1".into(),
        dest_version: "2.0".into(),
        firmware_url: Some(sent.firmware_url.clone()),
        product_key: product_key.clone(),
        sign_method: Some("SHA256".into()),
        firmware_sign: Some(sent.sha256.clone()),
        firmware_size: Some(7),
        udi: Some("free text".into()),
        ..Default::default()
    };
    let mut client = admin.firmware();
    let made = client.create_ota_firmware(request.clone()).await.unwrap().into_inner();
    let query = v1::QueryOtaFirmwareRequest { firmware_id: made.firmware_id.clone() };
    let found = client.query_ota_firmware(query.clone()).await.unwrap().into_inner().firmware_info.unwrap();
    assert_eq!(found.firmware_sign, Some(sent.sha256));
    assert_eq!((found.firmware_size, found.product_name.as_str()), (Some(7), "lamp"));
    assert_eq!(found.status(), v1::FirmwareStatus::NotVerified);
    assert_eq!(found.r#type(), v1::FirmwareType::Whole);
    assert!(found.firmware_url.unwrap().contains("/d/"));

    let refusals = [
        (v1::CreateOtaFirmwareRequest { ..request.clone() }, "iot.ota.FirmwareNameExisted"),
        (
            v1::CreateOtaFirmwareRequest { firmware_size: Some(8), ..request.clone() },
            "iot.ota.FirmwareMismatch",
        ),
        (
            v1::CreateOtaFirmwareRequest { firmware_sign: Some("0".repeat(64)), ..request.clone() },
            "iot.ota.FirmwareMismatch",
        ),
        (
            v1::CreateOtaFirmwareRequest {
                firmware_url: Some("http://elsewhere/x".into()),
                ..request.clone()
            },
            "InvalidFirmwareUrl",
        ),
        (
            v1::CreateOtaFirmwareRequest { r#type: v1::FirmwareType::Difference.into(), ..request.clone() },
            "MissingSrcVersion",
        ),
        (v1::CreateOtaFirmwareRequest { r#type: 7, ..request.clone() }, "InvalidType"),
        (
            v1::CreateOtaFirmwareRequest { product_key: "unknown".into(), ..request.clone() },
            "iot.prod.NotExistedProduct",
        ),
        (
            v1::CreateOtaFirmwareRequest { firmware_name: String::new(), ..request.clone() },
            "MissingFirmwareName",
        ),
        (v1::CreateOtaFirmwareRequest { udi: Some("x".repeat(5_000)), ..request.clone() }, "InvalidUdi"),
    ];
    for (request, reason) in refusals {
        let refused = client.create_ota_firmware(request).await.unwrap_err();
        assert_eq!(why(&refused).1, reason);
    }
    let stranger = world.stranger().await;
    let refused = stranger.firmware().query_ota_firmware(query).await.unwrap_err();
    assert_eq!(why(&refused), because(Code::NotFound, "iot.ota.FirmwareNotFound", ""));
    let stolen = v1::CreateOtaFirmwareRequest {
        firmware_url: Some(sent.firmware_url),
        product_key: product(&stranger, "mine").await,
        firmware_sign: None,
        ..request
    };
    let refused = stranger.firmware().create_ota_firmware(stolen).await.unwrap_err();
    assert_eq!(why(&refused).1, "InvalidFirmwareUrl");
}

#[tokio::test]
async fn a_package_of_several_files_names_each() {
    let world = World::new().await;
    let admin = world.admin();
    let product_key = product(&admin, "lamp").await;
    let mut multi_files = Vec::new();
    for name in ["a.bin", "b.bin"] {
        let url = upload(&admin, b"part").await.firmware_url;
        multi_files.push(v1::FirmwareFile { name: name.into(), url, ..Default::default() });
    }
    let request = v1::CreateOtaFirmwareRequest {
        firmware_name: "several".into(),
        dest_version: "2.0".into(),
        product_key,
        multi_files,
        ..Default::default()
    };
    let made = admin.firmware().create_ota_firmware(request).await.unwrap().into_inner();
    let query = v1::QueryOtaFirmwareRequest { firmware_id: made.firmware_id };
    let found = admin.firmware().query_ota_firmware(query).await.unwrap().into_inner().firmware_info.unwrap();
    assert_eq!(found.multi_files.len(), 2);
    assert_eq!(found.multi_files[1].size, Some(4));
    assert_eq!((found.firmware_size, found.firmware_url, found.firmware_sign), (None, None, None));
}

#[tokio::test]
async fn firmware_is_listed_newest_first() {
    let world = World::new().await;
    let admin = world.admin();
    let product_key = product(&admin, "lamp").await;
    for n in 0..5 {
        firmware(&admin, &product_key, &format!("fw{n}")).await;
    }
    let mut client = admin.firmware();
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let request =
            v1::ListOtaFirmwareRequest { page_size: Some(2), page_token: token, ..Default::default() };
        let page = client.list_ota_firmware(request).await.unwrap().into_inner();
        assert_eq!((page.total, page.page_count), (5, 3));
        seen.extend(page.firmware.into_iter().map(|row| row.firmware_name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["fw4", "fw3", "fw2", "fw1", "fw0"]);
    let second = v1::ListOtaFirmwareRequest {
        page_size: Some(2),
        current_page: Some(2),
        dest_version: Some("2.0".into()),
        ..Default::default()
    };
    let second = client.list_ota_firmware(second).await.unwrap().into_inner();
    assert_eq!(second.firmware[0].firmware_name, "fw2");
    let none = v1::ListOtaFirmwareRequest { dest_version: Some("3.0".into()), ..Default::default() };
    assert_eq!(client.list_ota_firmware(none).await.unwrap().into_inner().total, 0);
}
