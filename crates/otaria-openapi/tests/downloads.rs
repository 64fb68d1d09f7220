//! Downloads and the small answers, over real sockets.

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{EMPTY, LARGE, LOST, NOW, SHA256, SHORT, SMALL, World, large, path, path_under};
use otaria_core::link::LinkKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_package_comes_whole_with_its_length_spelled_as_devices_compare_it() {
    let world = World::start().await;
    let answer = world.get(&path(LARGE), "").await;

    assert_eq!(answer.status(), 200);
    assert!(answer.head.contains("\r\nContent-Length: 1048576\r\n"), "{}", answer.head);
    assert!(!answer.head.to_ascii_lowercase().contains("transfer-encoding"));
    assert_eq!(answer.header("Content-Type"), Some("application/octet-stream"));
    assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(answer.header("Etag"), Some(format!("\"{SHA256}\"").as_str()));
    assert!(answer.body == large());
}

#[tokio::test]
async fn every_header_is_in_title_case() {
    let world = World::start().await;
    for (path, headers) in [
        (path(SMALL), "Range: bytes=0-\r\n"),
        (path(SMALL), "Range: bytes=50-\r\n"),
        ("/nothing".into(), ""),
        ("/readyz".into(), ""),
    ] {
        let answer = world.get(&path, headers).await;
        for line in answer.head.lines().skip(1).filter(|line| !line.is_empty()) {
            let (name, _) = line.split_once(": ").unwrap();
            for word in name.split('-') {
                assert!(word.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
                assert!(word[1..].chars().all(|c| c.is_ascii_lowercase()), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_part_comes_with_its_place() {
    let world = World::start().await;
    for (range, place, body) in [
        ("bytes=0-", "bytes 0-9/10", "0123456789"),
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=9-1000", "bytes 9-9/10", "9"),
        ("bytes=-3", "bytes 7-9/10", "789"),
    ] {
        let answer = world.get(&path(SMALL), &format!("Range: {range}\r\n")).await;
        assert_eq!((answer.status(), answer.text()), (206, body), "{range}");
        assert_eq!(answer.header("Content-Range"), Some(place));
        assert_eq!(answer.header("Content-Length"), Some(body.len().to_string().as_str()));
    }
}

#[tokio::test]
async fn a_part_across_many_pieces_is_exact() {
    let world = World::start().await;
    let answer = world.get(&path(LARGE), "Range: bytes=32767-900001\r\n").await;
    assert_eq!(answer.header("Content-Range"), Some("bytes 32767-900001/1048576"));
    assert!(answer.body == large()[32_767..=900_001]);
}

#[tokio::test]
async fn what_the_file_does_not_have_is_refused_with_its_size() {
    let world = World::start().await;
    let answer = world.get(&path(SMALL), "Range: bytes=10-\r\n").await;
    assert_eq!((answer.status(), answer.header("Content-Range")), (416, Some("bytes */10")));
    let answer = world.get(&path(EMPTY), "Range: bytes=0-\r\n").await;
    assert_eq!((answer.status(), answer.header("Content-Range")), (416, Some("bytes */0")));
}

#[tokio::test]
async fn what_is_not_one_range_is_answered_whole() {
    let world = World::start().await;
    for headers in
        ["Range: bytes=0-1,4-5\r\n", "Range: bytes=x\r\n", "Range: bytes=0-1\r\nRange: bytes=4-5\r\n"]
    {
        let answer = world.get(&path(SMALL), headers).await;
        assert_eq!((answer.status(), answer.text()), (200, "0123456789"), "{headers}");
        assert_eq!(answer.header("Content-Range"), None);
    }
}

#[tokio::test]
async fn a_known_file_is_not_sent_again_and_a_changed_one_not_in_part() {
    let world = World::start().await;
    let answer = world.get(&path(SMALL), &format!("If-None-Match: \"x\", W/\"{SHA256}\"\r\n")).await;
    assert_eq!((answer.status(), answer.header("Etag")), (304, Some(format!("\"{SHA256}\"").as_str())));
    let answer = world.get(&path(SMALL), "If-None-Match: \"other\"\r\n").await;
    assert_eq!(answer.status(), 200);

    let same = format!("Range: bytes=1-2\r\nIf-Range: \"{SHA256}\"\r\n");
    assert_eq!(world.get(&path(SMALL), &same).await.status(), 206);
    let other = "Range: bytes=1-2\r\nIf-Range: \"other\"\r\n";
    assert_eq!(world.get(&path(SMALL), other).await.text(), "0123456789");
}

#[tokio::test]
async fn head_tells_everything_but_the_bytes() {
    let world = World::start().await;
    let mut socket = world.connect().await;
    let request = format!("HEAD {} HTTP/1.1\r\nHost: otaria\r\nConnection: close\r\n\r\n", path(LARGE));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
    assert!(all.contains("\r\nContent-Length: 1048576\r\n"), "{all}");
    assert!(all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn an_empty_file_is_a_file() {
    let world = World::start().await;
    let answer = world.get(&path(EMPTY), "").await;
    assert_eq!((answer.status(), answer.header("Content-Length")), (200, Some("0")));
}

#[tokio::test]
async fn a_link_is_followed_only_while_it_holds() {
    let world = World::start().await;
    let good = path(SMALL);
    let forged = path_under(&LinkKey::new([8; 32]), SMALL);
    assert_eq!(world.get(&forged, "").await.status(), 403);

    let last = if good.ends_with('A') { "B" } else { "A" };
    for (changed, status) in [
        (format!("{}{}", &good[..good.len() - 5], "AAAAA"), vec![403, 404]),
        (format!("{}{last}", &good[..good.len() - 1]), vec![403, 404]),
        (format!("{good}A"), vec![404]),
        (good[..good.len() - 1].to_owned(), vec![404]),
        (format!("{good}/"), vec![404]),
        (format!("{good}?x=1"), vec![200]),
        ("/d/".into(), vec![404]),
        ("/d".into(), vec![404]),
    ] {
        let answer = world.get(&changed, "").await;
        assert!(status.contains(&answer.status()), "{changed}: {}", answer.status());
    }

    assert_eq!(world.get(&path(9), "").await.status(), 404, "no such file in the firmware");
    world.clock.set(NOW + Duration::from_secs(3_600));
    let answer = world.get(&good, "").await;
    assert_eq!(answer.status(), 410);
    assert!(answer.text().contains("expired"));
    assert_eq!(world.get(&forged, "").await.status(), 403, "a forged link does not tell whether it expired");
}

#[tokio::test]
async fn a_store_that_is_down_asks_for_patience() {
    let world = World::start().await;
    world.store_down.store(true, Ordering::SeqCst);
    let answer = world.get(&path(SMALL), "").await;
    assert_eq!((answer.status(), answer.header("Retry-After")), (503, Some("5")));
    assert_eq!(world.get(&path(LOST), "").await.status(), 503);
    world.store_down.store(false, Ordering::SeqCst);
    assert_eq!(world.get(&path(LOST), "").await.status(), 500, "the object is gone");
}

#[tokio::test]
async fn half_a_file_is_never_taken_for_a_whole_one() {
    let world = World::start().await;
    let mut socket = world.connect().await;
    socket.write_all(format!("GET {} HTTP/1.1\r\nHost: o\r\n\r\n", path(SHORT)).as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // The connection ends although it was to be kept, before the promised length.
    let _ = socket.read_to_end(&mut all).await;
    assert!(all.len() < 1_000_000);
}

#[tokio::test]
async fn no_path_leads_to_other_files() {
    let world = World::start().await;
    for path in [
        "/d/../../etc/passwd",
        "/d/..%2f..%2fetc%2fpasswd",
        "/d/%2e%2e/%2e%2e/etc/passwd",
        "/../etc/passwd",
        "//etc/passwd",
        "/d/small",
        "/d/%00",
        "/small",
    ] {
        assert_eq!(world.get(path, "").await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn those_who_run_the_server_are_told_how_it_is() {
    let world = World::start().await;
    assert_eq!(world.get("/healthz", "").await.text(), "alive\n");
    assert_eq!(world.get("/metrics", "").await.text(), "otaria_up 1\n");
    assert!(world.get("/", "").await.text().contains("127.0.0.1:50051"));
    let answer = world.get("/elsewhere", "").await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("GET /"));

    let answer = world.get("/readyz", "").await;
    assert_eq!((answer.status(), answer.header("Content-Type")), (200, Some("application/json")));
    assert_eq!(answer.text(), "{\"checks\":{\"store\":\"ok\"},\"draining\":false,\"ready\":true}\n");
    world.store_down.store(true, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.get("/readyz", "").await.status(), 503);

    world.store_down.store(false, Ordering::SeqCst);
    world.clock.advance(Duration::from_secs(1));
    world.face.drain();
    assert_eq!(world.get("/readyz", "").await.status(), 503);
    assert_eq!(world.get(&path(SMALL), "").await.status(), 200, "who drains still serves");
}

#[tokio::test]
async fn other_methods_are_refused_by_name() {
    let world = World::start().await;
    for request in ["POST /healthz", "DELETE /metrics", &format!("PUT {}", path(SMALL))] {
        let answer =
            world.ask(&format!("{request} HTTP/1.1\r\nHost: o\r\nContent-Length: 3\r\n\r\nabc")).await;
        assert_eq!((answer.status(), answer.header("Allow")), (405, Some("GET,HEAD")), "{request}");
    }
}
