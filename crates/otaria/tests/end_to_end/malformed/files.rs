//! Device list files.

use std::path::Path;

use otaria_proto::v1::upload_device_name_list_request::Part;
use otaria_proto::v1::{
    QueryOtaJobResponse, RejectReason, UploadDeviceNameListHeader, UploadDeviceNameListRequest,
};
use tonic::Code;

use crate::faces::{Faces, assert_denied, assert_refused};
use crate::rollout::{create_by_list, firmware, list_job, product, query, register, tasks, upload_list};
use crate::server::Server;
use crate::{SOON, eventually};

const INVALID: (Code, &str, &str) = (Code::InvalidArgument, "File", "iot.ota.DeviceListFileInvalid");

/// How many lines a job made of a file: lines, tasks, rejected as malformed, unknown, duplicate.
async fn outcome(faces: &Faces, name: &str, list: &[u8]) -> (i64, i64, [usize; 3]) {
    let product = product(faces, name).await;
    register(faces, &product, (0..5).map(|n| format!("unit-{n}"))).await;
    let firmware = firmware(faces, &product, "2.0.0").await;
    let job = create_by_list(faces, &product, &firmware, list, 10_000).await;
    let expanded = eventually("it is expanded", SOON, async || {
        let info: QueryOtaJobResponse = query(faces, &job).await;
        info.expansion.filter(|expansion| expansion.complete)
    });
    let expansion = expanded.await;
    assert_eq!(expansion.lines, expansion.tasks + expansion.skipped + expansion.rejected);
    let found = tasks(faces, &job).await;
    assert_eq!(i64::try_from(found.len()).unwrap(), expansion.tasks);
    let samples = |reason| expansion.reject_samples.iter().filter(|sample| sample.reason() == reason).count();
    let kinds = [RejectReason::Malformed, RejectReason::Unknown, RejectReason::Duplicate].map(samples);
    (expansion.lines, expansion.tasks, kinds)
}

#[tokio::test]
async fn every_line_of_an_odd_file_is_counted_once() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let crlf = b"\xef\xbb\xbfunit-0\r\n\r\n  unit-1\t\r\n\n \n\r\nunit-2";
    assert_eq!(outcome(&faces, "crlf", crlf).await, (3, 3, [0, 0, 0]));
    let twice = b"unit-0\nunit-0\nunit-1\nunit-0\nghost-1\nghost-1\nnot a name\n";
    assert_eq!(outcome(&faces, "twice", twice).await, (7, 2, [1, 1, 3]));
    let bom_later = b"unit-0\n\xef\xbb\xbfunit-1\nunit-2\0\n\xff\xfe\n";
    assert_eq!(outcome(&faces, "marks", bom_later).await, (4, 1, [3, 0, 0]));
    let mut long = b"unit-0\n".to_vec();
    long.extend(std::iter::repeat_n(b'x', 10 << 20));
    long.extend(b"\nunit-1");
    assert_eq!(outcome(&faces, "long_line", &long).await, (3, 2, [1, 0, 0]));
    let wide: Vec<u8> = "unit-0\nunit-1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (lines, tasks, [malformed, ..]) = outcome(&faces, "wide", &wide).await;
    assert_eq!((tasks, usize::try_from(lines).unwrap()), (0, malformed));
    server.assert_healthy().await;
}

#[tokio::test]
async fn binary_junk_makes_no_task_and_every_line_of_it_is_rejected() {
    let mut server = Server::start().await;
    let faces = server.faces();
    let mut state = 0x2545_f491_u32;
    let junk: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(400_000)
    .collect();
    let uploaded = upload_list(&faces, &junk).await.unwrap().into_inner();
    let (lines, tasks, _) = outcome(&faces, "junk", &junk).await;
    assert_eq!((lines, tasks), (uploaded.line_count, 0));
    assert!(lines > 1_000, "{lines}");
    server.assert_healthy().await;
}

#[tokio::test]
async fn files_that_are_empty_too_large_or_not_as_announced_are_not_kept() {
    let config = "[limits]\nlist_max_lines = 10\nlist_max_bytes = 5000\n";
    let mut server = Server::start_configured(config).await;
    let faces = server.faces();
    let lines = |count: usize| "unit-0\n".repeat(count).into_bytes();
    for (bytes, named) in [
        (Vec::new(), "empty"),
        (b"\xef\xbb\xbf".to_vec(), "empty"),
        (b" \r\n\n\t\n".to_vec(), "empty"),
        (lines(11), "10 lines"),
        (vec![b'x'; 5_001], "5000 bytes"),
        (vec![b'\n'; 5_001], "5000 bytes"),
    ] {
        let rule = assert_refused(upload_list(&faces, &bytes).await, INVALID);
        assert!(rule.contains(named), "{rule}");
    }
    let announced = async |header: UploadDeviceNameListHeader, bytes: &[u8]| {
        let parts = [Part::Header(header), Part::Chunk(bytes.to_vec().into())];
        let parts = parts.map(|part| UploadDeviceNameListRequest { part: Some(part) });
        faces.jobs().upload_device_name_list(futures_util::stream::iter(parts)).await
    };
    let size = |size| UploadDeviceNameListHeader { size_bytes: Some(size), sha256: None };
    let digest = |text: &str| UploadDeviceNameListHeader { size_bytes: None, sha256: Some(text.to_owned()) };
    let mismatch = (Code::InvalidArgument, "iot.ota.DeviceListFileInvalid");
    assert_denied(announced(size(8), b"unit-0\n").await, mismatch);
    assert_denied(announced(size(6), b"unit-0\n").await, mismatch);
    assert_denied(announced(digest(&"0".repeat(64)), b"unit-0\n").await, mismatch);
    for header in [size(-1), size(0), digest("xyz"), digest(&"0".repeat(63))] {
        let refused = announced(header, b"unit-0\n").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    }
    // A message that is neither header nor chunk, and a second header.
    let nothing = futures_util::stream::iter([UploadDeviceNameListRequest { part: None }]);
    let refused = faces.jobs().upload_device_name_list(nothing).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    // What was begun goes right after it was refused.
    let kept = async |count| {
        let folder = server.data_dir().join("objects");
        let look = async || (files_below(&folder) == count).then_some(());
        eventually("nothing half-made is left", SOON, look).await;
    };
    kept(0).await;

    let largest = upload_list(&faces, &lines(10)).await.unwrap().into_inner();
    assert_eq!((largest.line_count, largest.size_bytes), (10, 70));
    kept(1).await;

    // Only what was uploaded, by its whole address, is a list.
    let product = product(&faces, "list_urls").await;
    let firmware = firmware(&faces, &product, "2.0.0").await;
    for url in ["http://127.0.0.1/o/x", "file:///etc/passwd", "../../otaria.db", &largest.file_url[1..]] {
        let request = list_job(&product, &firmware, url);
        let refused = faces.jobs().create_ota_static_upgrade_job(request).await;
        assert_refused(refused, (Code::InvalidArgument, "DnListFileUrl", "iot.ota.DeviceListFileInvalid"));
    }
    server.assert_healthy().await;
}

fn files_below(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let count = |path: std::path::PathBuf| if path.is_dir() { files_below(&path) } else { 1 };
    entries.map(|entry| count(entry.unwrap().path())).sum()
}
