//! Reject files over real sockets, out of the memory store.

mod common;

use std::time::Duration;

use common::{NOW, World, read_answer, rejects_path};
use otaria_core::ids::JobNo;
use otaria_ports::store::contract::world::{World as Stored, at, new_job, slice};
use otaria_ports::store::memory::Fault;
use otaria_ports::store::{Job, Jobs, RejectCause, RejectedLine, Rejections, Slice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn unknown(n: u64) -> RejectedLine {
    RejectedLine { text: format!("stranger-{n:07}"), cause: RejectCause::Unknown }
}

/// A job that is done with its list and kept these of the rejected lines.
async fn job_of(world: &World, kept: Vec<RejectedLine>, counted: u64) -> Job {
    let stored = Stored::new(&*world.store).await;
    let job = stored.make(&new_job(&stored.firmware, "job1")).await;
    let last = Slice {
        rejects: kept,
        rejected: Rejections { unknown: counted, ..Rejections::default() },
        lines: counted,
        complete: true,
        ..slice(&job, 0, &[])
    };
    world.store.expand(&last, at(1)).await.unwrap();
    job
}

async fn job_with(world: &World, lines: Vec<RejectedLine>) -> Job {
    let counted = lines.len() as u64;
    job_of(world, lines, counted).await
}

#[tokio::test]
async fn rejected_lines_come_as_text_without_a_length() {
    let world = World::start().await;
    let lines = vec![
        unknown(1),
        RejectedLine { text: "no\tname\n".into(), cause: RejectCause::Malformed },
        RejectedLine { text: "dev-1".into(), cause: RejectCause::Duplicate },
    ];
    let job = job_with(&world, lines).await;
    let answer = world.get(&rejects_path(job.no), "").await;

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("Content-Disposition"), Some("attachment; filename=\"rejects-job1.tsv\""));
    assert_eq!(answer.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!(answer.header("Content-Length"), None);
    let text = "stranger-0000001\tunknown\nno\u{fffd}name\u{fffd}\tmalformed\ndev-1\tduplicate\n";
    assert_eq!(answer.text(), text);
}

#[tokio::test]
async fn many_lines_come_page_by_page_each_once_and_in_order() {
    // None, one, whole pages, and more than whole pages.
    for count in [0, 1, 999, 1_000, 1_001, 2_000, 12_345] {
        let world = World::start().await;
        let job = job_with(&world, (0..count).map(unknown).collect()).await;
        let answer = world.get(&rejects_path(job.no), "").await;
        let expected: String = (0..count).map(|n| format!("stranger-{n:07}\tunknown\n")).collect();
        assert!(answer.text() == expected, "{count} lines: {} bytes came", answer.body.len());
    }
}

#[tokio::test]
async fn a_connection_serves_other_requests_after_a_reject_file() {
    let world = World::start().await;
    let job = job_with(&world, (0..1_500).map(unknown).collect()).await;
    let mut socket = world.connect().await;
    for _ in 0..2 {
        let request = format!("GET {} HTTP/1.1\r\nHost: o\r\nRange: bytes=0-3\r\n\r\n", rejects_path(job.no));
        socket.write_all(request.as_bytes()).await.unwrap();
        let answer = read_answer(&mut socket, false).await.unwrap();
        // Ranges are for packages: this one is answered whole.
        assert_eq!((answer.status(), answer.text().lines().count()), (200, 1_500));
        assert_eq!(answer.header("Accept-Ranges"), Some("none"));
    }
}

#[tokio::test]
async fn head_tells_the_headers_and_no_length() {
    let world = World::start().await;
    let job = job_with(&world, vec![unknown(1)]).await;
    let mut socket = world.connect().await;
    let request = format!("HEAD {} HTTP/1.1\r\nHost: o\r\nConnection: close\r\n\r\n", rejects_path(job.no));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).await.unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
    assert!(all.contains("\r\nContent-Disposition: attachment; filename=\"rejects-job1.tsv\"\r\n"), "{all}");
    assert!(!all.contains("Content-Length"), "{all}");
    assert!(all.ends_with("\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_job_that_is_gone_has_no_file() {
    let world = World::start().await;
    for method in ["GET", "HEAD"] {
        let request = format!("{method} {} HTTP/1.1\r\nHost: o\r\n\r\n", rejects_path(JobNo(77)));
        assert_eq!(world.ask(&request).await.status(), 404, "{method}");
    }
    // Nor one whose lines went before it.
    let job = job_of(&world, Vec::new(), 5).await;
    assert_eq!(world.get(&rejects_path(job.no), "").await.status(), 404);
}

#[tokio::test]
async fn half_of_the_lines_are_never_taken_for_all() {
    let world = World::start().await;
    let job = job_of(&world, (0..1_200).map(unknown).collect(), 1_500).await;
    let mut socket = world.connect().await;
    let request = format!("GET {} HTTP/1.1\r\nHost: o\r\n\r\n", rejects_path(job.no));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    // The connection ends although it was to be kept, without the chunk that says so.
    let _ = socket.read_to_end(&mut all).await;
    assert!(!all.ends_with(b"0\r\n\r\n"));
}

#[tokio::test]
async fn a_store_that_is_down_asks_for_patience_and_a_link_ends() {
    let world = World::start().await;
    let job = job_with(&world, vec![unknown(1)]).await;
    let path = rejects_path(job.no);
    world.store.fail_next(1, Fault::Before);
    let answer = world.get(&path, "").await;
    assert_eq!((answer.status(), answer.header("Retry-After")), (503, Some("5")));
    assert_eq!(world.get(&path, "").await.status(), 200);

    world.clock.set(NOW + Duration::from_secs(3_600));
    assert_eq!(world.get(&path, "").await.status(), 410);
}
