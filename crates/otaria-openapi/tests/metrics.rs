//! What is counted. Alone in its file: the recorder is one for the process.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{LARGE, SMALL, World, path};
use metrics_exporter_prometheus::PrometheusBuilder;
use otaria_openapi::BrokerHook;
use otaria_ports::auth::FixedAuth;

#[tokio::test]
async fn requests_are_counted_by_route_and_class_and_bytes_as_they_go() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let hook =
        BrokerHook { auth: Arc::new(FixedAuth::default()), bridge: ("otaria".into(), "secret".into()) };
    let world = World::with_face(|face| face.with_broker(hook)).await;
    world.get(&path(LARGE), "").await;
    world.get(&path(SMALL), "Range: bytes=0-3\r\n").await;
    world.get(&path(SMALL), "Range: bytes=10-\r\n").await;
    world.get("/d/forged", "").await;
    world.get("/healthz", "").await;
    world.get("/whatever/a/device/makes/up", "").await;

    for (path, body) in [
        ("auth", "username=otaria&password=secret"),
        (
            "auth",
            "username=dev%26a1pk&password=guess&clientid=x%7Csecuremode%3D3%2Csignmethod%3Dhmacsha256%7C",
        ),
        ("auth", "username=otaria&password=guess"),
        ("auth", "{"),
        ("acl", "username=dev%26a1pk&topic=%23&action=subscribe"),
    ] {
        let length = body.len();
        let request = format!(
            "POST /mqtt/{path} HTTP/1.1\r\nHost: otaria\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        world.ask(&request).await;
    }

    let rendered = metrics.render();
    for line in [
        "otaria_http_requests_total{route=\"download\",status=\"2xx\"} 2",
        "otaria_http_requests_total{route=\"download\",status=\"4xx\"} 2",
        "otaria_http_requests_total{route=\"healthz\",status=\"2xx\"} 1",
        "otaria_http_requests_total{route=\"other\",status=\"4xx\"} 1",
        "otaria_http_download_bytes_total 1048580",
        "otaria_http_broker_answers_total{question=\"login\",answer=\"allowed\"} 1",
        "otaria_http_broker_answers_total{question=\"login\",answer=\"denied\"} 2",
        "otaria_http_broker_answers_total{question=\"login\",answer=\"malformed\"} 1",
        "otaria_http_broker_answers_total{question=\"topic\",answer=\"denied\"} 1",
    ] {
        assert!(rendered.lines().any(|rendered| rendered == line), "{line} is not in\n{rendered}");
    }

    for _ in 0..1_000 {
        if metrics.render().lines().any(|line| line == "otaria_http_connections 0") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(metrics.render(), "no open connection", "connections that ended are still counted");
}
