//! The same face behind TLS.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{LARGE, World, large, path, read_answer};
use otaria_openapi::{Limits, Tls, TlsError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

struct Pem {
    _dir: TempDir,
    certificate: PathBuf,
    private_key: PathBuf,
    connector: TlsConnector,
}

fn pem() -> Pem {
    let made = rcgen::generate_simple_self_signed(vec!["otaria.test".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (certificate, private_key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&private_key, made.signing_key.serialize_pem()).unwrap();

    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Pem { _dir: dir, certificate, private_key, connector: TlsConnector::from(Arc::new(config)) }
}

#[tokio::test]
async fn a_package_comes_through_tls_and_silent_peers_are_let_go() {
    let pem = pem();
    let tls = Tls::from_pem_files(&pem.certificate, &pem.private_key).unwrap();
    let limits = Limits { handshake_timeout: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(limits, Some(tls)).await;

    let silent: Vec<_> = futures_util::future::join_all((0..50).map(|_| world.connect())).await;
    let name = ServerName::try_from("otaria.test").unwrap();
    let mut socket = pem.connector.connect(name, world.connect().await).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: o\r\n\r\n", path(LARGE));
    socket.write_all(request.as_bytes()).await.unwrap();
    let answer = read_answer(&mut socket, false).await.unwrap();
    assert_eq!(answer.header("Content-Length"), Some("1048576"));
    assert!(answer.body == large());

    for mut socket in silent {
        let read = tokio::time::timeout(Duration::from_secs(20), socket.read(&mut [0; 1])).await;
        assert!(matches!(read.expect("let go"), Ok(0) | Err(_)));
    }
    let mut plain = world.connect().await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: o\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "plain text is not answered on a TLS port");
    world.stop().await;
}

#[test]
fn files_that_are_no_certificate_are_named() {
    let pem = pem();
    let missing = pem.certificate.with_file_name("missing.pem");
    let error = Tls::from_pem_files(&missing, &pem.private_key).unwrap_err();
    assert!(error.to_string().contains("missing.pem"), "{error}");
    let error = Tls::from_pem_files(&pem.private_key, &pem.private_key).unwrap_err();
    assert!(matches!(error, TlsError::Unreadable { what: "certificate", .. }), "{error}");
    let other = self::pem();
    let error = Tls::from_pem_files(&pem.certificate, &other.private_key).unwrap_err();
    assert!(matches!(error, TlsError::Unfit(_)), "{error}");
}
