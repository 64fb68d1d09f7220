//! HTTP.

use crate::http::{blurt, get, send};
use crate::server::Server;

#[tokio::test]
async fn requests_that_are_none_are_refused_and_nobody_else_notices() {
    let mut server = Server::start().await;
    let http = server.at().http;
    let huge_head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_heads = format!("GET /healthz HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let long_line = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(1 << 20));
    for bytes in [
        &b"\r\n\r\n\r\n"[..],
        b"NONSENSE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        &[0xff; 2_000],
        huge_head.as_bytes(),
        many_heads.as_bytes(),
        long_line.as_bytes(),
    ] {
        let status = blurt(http, bytes).await.status;
        let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
        // Refused in words where there is somebody to speak to, else just closed.
        assert!(status == 0 || (400..500).contains(&status), "{status} for {beginning:?}");
    }
    server.assert_healthy().await;
}

#[tokio::test]
async fn links_that_nobody_gave_lead_nowhere() {
    let mut server = Server::start().await;
    let http = server.at().http;
    let [_, secret] = server.admin_key();
    for path in [
        "/d/",
        "/d/x",
        &format!("/d/{}", "A".repeat(46)),
        &format!("/d/{}", "A".repeat(5_000)),
        "/d/../access-key",
        "/d/..%2faccess-key",
        "/d/%2e%2e/%2e%2e/master-key",
        "/../../../../etc/passwd",
        "/o/../../access-key",
        "/o/nobody",
        "/objects/../access-key",
        "//etc/passwd",
        "/%00",
        "/nobody",
    ] {
        let answer = get(http, path).await;
        assert!((400..500).contains(&answer.status), "{path}: {}", answer.text);
        assert!(!answer.text.contains(&secret) && !answer.text.contains("root:"), "{path}: {}", answer.text);
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "NONSENSE"] {
        let request = format!(
            "{method} /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let answer = send(http, request.as_bytes()).await;
        assert!((400..500).contains(&answer.status), "{method}: {}", answer.text);
    }
    server.assert_healthy().await;
}
