//! Peers that are many, slow, silent or hostile: none harms another, none holds anything for ever.

mod common;

use std::time::Duration;

use common::{LARGE, LARGE_BYTES, SMALL, World, large, path, read_answer};
use otaria_openapi::{Drained, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: otaria\r\n\r\n")
}

#[tokio::test]
async fn one_connection_serves_many_requests_also_sent_in_one_go() {
    let world = World::start().await;
    let mut socket = world.connect().await;
    for _ in 0..3 {
        socket.write_all(request(&path(SMALL)).as_bytes()).await.unwrap();
        assert_eq!(read_answer(&mut socket, false).await.unwrap().text(), "0123456789");
    }
    let five =
        [path(SMALL), "/healthz".into(), path(LARGE), "/nothing".into(), path(SMALL)].map(|p| request(&p));
    socket.write_all(five.concat().as_bytes()).await.unwrap();
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(read_answer(&mut socket, false).await.unwrap().status());
    }
    assert_eq!(statuses, [200, 200, 200, 404, 200]);
}

#[tokio::test]
async fn a_peer_that_said_its_last_word_still_gets_its_answer() {
    let world = World::start().await;
    let mut socket = world.connect().await;
    socket.write_all(request(&path(LARGE)).as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut all = Vec::new();
    socket.read_to_end(&mut all).await.unwrap();
    assert!(all.ends_with(&large()));
}

#[tokio::test]
async fn an_old_client_is_served_and_let_go() {
    let world = World::start().await;
    let mut socket = world.connect().await;
    socket.write_all(format!("GET {} HTTP/1.0\r\n\r\n", path(SMALL)).as_bytes()).await.unwrap();
    let mut all = String::new();
    socket.read_to_string(&mut all).await.unwrap();
    assert!(all.contains("\r\nContent-Length: 10\r\n") && all.ends_with("0123456789"), "{all}");
}

#[tokio::test]
async fn a_silent_peer_and_one_that_never_ends_its_head_are_let_go() {
    let limits = Limits { head_timeout: Duration::from_millis(200), ..Limits::default() };
    let world = World::with(limits, None).await;
    for begin in ["", "GET", "GET / HTTP/1.1\r\nHost: o\r\nX-"] {
        let mut socket = world.connect().await;
        socket.write_all(begin.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        timeout(SOON, socket.read_to_end(&mut rest)).await.expect("let go").unwrap();
    }

    // One that trickles is held to the same time, and so is one that idles after an answer.
    let mut socket = world.connect().await;
    let trickle = async {
        while socket.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SOON, trickle).await.expect("let go");
    let mut socket = world.connect().await;
    socket.write_all(request("/healthz").as_bytes()).await.unwrap();
    read_answer(&mut socket, false).await.unwrap();
    let mut rest = Vec::new();
    timeout(SOON, socket.read_to_end(&mut rest)).await.expect("let go").unwrap();
}

#[tokio::test]
async fn a_path_or_a_head_without_end_is_refused() {
    let world = World::start().await;
    assert_eq!(world.get(&format!("/d/{}", "A".repeat(2_000)), "").await.status(), 414);
    assert_eq!(world.get(&format!("/{}", "%41".repeat(2_000)), "").await.status(), 414);

    for (path, headers) in
        [("/".to_owned() + &"a".repeat(200_000), String::new()), ("/".into(), "X: y\r\n".repeat(50_000))]
    {
        let mut socket = world.connect().await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: o\r\n{headers}\r\n");
        // The server may close before it read all of it.
        let _ = socket.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(SOON, socket.read_to_end(&mut answer)).await.expect("let go");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let refused = ["HTTP/1.1 414", "HTTP/1.1 431", "HTTP/1.1 400"];
        assert!(answer.is_empty() || refused.iter().any(|start| answer.starts_with(start)), "{answer}");
    }
    assert_eq!(world.get("/healthz", "").await.status(), 200);
}

#[tokio::test]
async fn binary_junk_is_refused() {
    let world = World::start().await;
    for junk in
        [&b"\x10\x20\x00\x04MQTT\x04\x02\x00\x3c\r\n\r\n"[..], b"\x16\x03\x01\x02\x00", b"\0\0\0\0\r\n\r\n"]
    {
        let mut socket = world.connect().await;
        socket.write_all(junk).await.unwrap();
        let mut answer = Vec::new();
        socket.shutdown().await.unwrap();
        let _ = timeout(SOON, socket.read_to_end(&mut answer)).await.expect("let go");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    }
    assert_eq!(world.get("/healthz", "").await.status(), 200);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut() {
    let limits = Limits { write_stall: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(limits, None).await;
    // A small window, so that the answer does not fit into the kernel's buffers.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(world.address).await.unwrap();
    let many = request(&path(LARGE)).repeat(40);
    socket.write_all(many.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;

    let mut taken = Vec::new();
    let _ = timeout(SOON, socket.read_to_end(&mut taken)).await.expect("cut");
    assert!(taken.len() < 40 * LARGE_BYTES, "{}", taken.len());
    assert_eq!(world.get("/healthz", "").await.status(), 200);
}

#[tokio::test]
async fn those_above_the_limit_wait_for_their_turn() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let world = World::with(limits, None).await;
    let (mut first, mut second) = (world.connect().await, world.connect().await);
    for socket in [&mut first, &mut second] {
        socket.write_all(request("/healthz").as_bytes()).await.unwrap();
        read_answer(socket, false).await.unwrap();
    }
    let mut third = world.connect().await;
    third.write_all(request("/healthz").as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(200), third.readable()).await.is_err());
    drop(first);
    assert_eq!(timeout(SOON, read_answer(&mut third, false)).await.unwrap().unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_at_once_each_get_every_byte() {
    let world = World::start().await;
    let devices = (0..300).map(|n| {
        let address = world.address;
        tokio::spawn(async move {
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.write_all(request(&path(LARGE)).as_bytes()).await.unwrap();
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            read_answer(&mut socket, false).await.unwrap().body == large()
        })
    });
    for device in devices.collect::<Vec<_>>() {
        assert!(timeout(Duration::from_secs(60), device).await.expect("in time").unwrap());
    }
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_answers_in_time() {
    let world = World::start().await;
    let mut idle = world.connect().await;
    idle.write_all(request("/healthz").as_bytes()).await.unwrap();
    read_answer(&mut idle, false).await.unwrap();
    let address = world.address;

    // Sooner than the drain would be over.
    let drained = timeout(Duration::from_secs(5), world.stop()).await.expect("at once");
    assert_eq!(drained, Drained { cut: 0 });
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stop_lets_an_answer_under_way_end() {
    let world = World::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(world.address).await.unwrap();
    socket.write_all(request(&path(LARGE)).as_bytes()).await.unwrap();
    socket.readable().await.unwrap();

    let (drained, answer) = tokio::join!(world.stop(), read_answer(&mut socket, false));
    assert!(answer.unwrap().body == large());
    assert_eq!(drained, Drained { cut: 0 });
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let limits = Limits { drain: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(limits, None).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut socket = socket.connect(world.address).await.unwrap();
    // More than the kernel's buffers take, and nobody reads.
    socket.write_all(request(&path(LARGE)).repeat(40).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;

    let drained = timeout(SOON, world.stop()).await.expect("in time");
    assert_eq!(drained, Drained { cut: 1 });
}
