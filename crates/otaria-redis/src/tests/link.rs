//! The connection itself.

use std::sync::Arc;
use std::time::Duration;

use redis::cmd;

use super::{Chance, Server, config_at, process, until};
use crate::{OpenError, RedisConfig, RedisLink};

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_server_that_evicts_keys_is_refused_with_what_to_do() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]).await;
    let refused = RedisLink::open(&config_at(&server.url()), Arc::new(Chance)).await.unwrap_err();
    assert!(matches!(&refused, OpenError::Evicts { policy } if policy == "allkeys-lru"), "{refused:?}");
    assert!(refused.to_string().contains("maxmemory-policy noeviction"));
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_wrong_password_is_refused_without_showing_it() {
    let server = Server::start(&["--requirepass", "right"]).await;
    let url = |password: &str| format!("redis://:{password}@127.0.0.1:{}", server.port);
    let refused = RedisLink::open(&config_at(&url("wr0ng")), Arc::new(Chance)).await.unwrap_err();
    let mut words = format!("{refused} {refused:?}");
    let mut source = std::error::Error::source(&refused);
    while let Some(error) = source {
        words += &format!(" {error} {error:?}");
        source = error.source();
    }
    assert!(!words.contains("wr0ng"), "{words}");
    let link = process(&config_at(&url("right"))).await;
    assert!(!format!("{link:?}").contains("right"));
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_lost_server_fails_calls_at_once_and_is_found_again() {
    let mut server = Server::start(&[]).await;
    let link = process(&config_at(&server.url())).await;
    let ping = || async { link.query::<String>(&cmd("PING"), "testing").await };
    assert_eq!(ping().await.unwrap(), "PONG");
    let before = link.beats().borrow().incarnation;
    server.kill().await;
    assert!(ping().await.is_err());
    let began = tokio::time::Instant::now();
    for _ in 0..10 {
        assert!(ping().await.is_err());
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    server.run().await;
    until(Duration::from_secs(10), || async { ping().await.is_ok() }).await;
    until(Duration::from_secs(10), || async { link.beats().borrow().incarnation > before }).await;
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_server_that_hangs_is_given_up_in_time() {
    let server = Server::start(&[]).await;
    let config = RedisConfig { command_timeout: Duration::from_millis(300), ..config_at(&server.url()) };
    let link = process(&config).await;
    server.cli(&["client", "pause", "1500", "ALL"]).await;
    let began = tokio::time::Instant::now();
    assert!(link.query::<String>(&cmd("PING"), "testing").await.is_err());
    assert!(began.elapsed() < Duration::from_millis(1_200), "{:?}", began.elapsed());
    let ping = || async { link.query::<String>(&cmd("PING"), "testing").await.is_ok() };
    until(Duration::from_secs(10), ping).await;
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn tls_and_unix_sockets_work() {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let socket = folder.path().join("redis.sock");
    let [certificate, key, socket] = [&certificate, &key, &socket].map(|path| path.to_str().unwrap());
    let tls = ["--tls-port", &port, "--tls-cert-file", certificate, "--tls-key-file", key];
    let more = ["--tls-ca-cert-file", certificate, "--tls-auth-clients", "no", "--unixsocket", socket];
    let _server = Server::start(&[&tls[..], &more].concat()).await;

    let root_certificates = Some(certified.cert.pem().into_bytes());
    let url = format!("rediss://localhost:{port}");
    let link = process(&RedisConfig { root_certificates, ..config_at(&url) }).await;
    assert_eq!(link.query::<String>(&cmd("PING"), "testing").await.unwrap(), "PONG");
    assert!(RedisLink::open(&config_at(&url), Arc::new(Chance)).await.is_err(), "an unknown authority");

    let link = process(&config_at(&format!("unix://{socket}"))).await;
    assert_eq!(link.query::<String>(&cmd("PING"), "testing").await.unwrap(), "PONG");
}
