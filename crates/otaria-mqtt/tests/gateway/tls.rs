//! The same over TLS.

use std::sync::Arc;

use otaria_mqtt::TlsConfig;
use otaria_ports::inbox::BLOCK_MAX;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rumqttc::{TlsConfiguration, Transport};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use crate::client::{Client, texts};
use crate::downloads;
use crate::world::{SECRET, World};

/// A server certificate for 127.0.0.1 and a client that trusts its authority.
fn pair() -> (TlsConfig, Arc<ClientConfig>) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();

    let provider = Arc::new(ring::default_provider());
    let listen = ([127, 0, 0, 1], 0).into();
    let server =
        TlsConfig::from_pem(listen, certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (server, Arc::new(client))
}

#[tokio::test]
async fn a_device_is_served_over_tls_while_others_keep_their_handshakes_open() {
    let (server, client) = pair();
    let world = World::with_tls(server);
    let address = world.tls.unwrap();
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let transport = Transport::tls_with_config(TlsConfiguration::Rustls(client));
    let texts = texts(1, "securemode=2,signmethod=hmacsha256,_ss=1", SECRET);
    let mut device = Client::connect(address, texts, Some(transport)).await.unwrap();
    for _ in 0..3 {
        world.push(1).await;
        assert_eq!(device.json().await["code"], "1000");
    }
    let inform = format!("/ota/device/inform/{}/dev_0001", crate::world::PRODUCT);
    device.say(&inform, r#"{"id":1,"params":{"version":"1.0.0"}}"#).await;
    crate::world::eventually(|| (world.inbox.reports.lock().unwrap().len() == 1).then_some(())).await;
    world.stop().await;
    device.ended().await;
}

#[tokio::test]
async fn the_longest_blocks_of_a_package_go_through_tls() {
    let (server, client) = pair();
    let world = World::with_tls(server);
    let file: Vec<u8> = (0..3 * BLOCK_MAX).map(|n| u8::try_from(n % 251).unwrap()).collect();
    *world.inbox.file.lock().unwrap() = Some(file.clone().into());
    let transport = Transport::tls_with_config(TlsConfiguration::Rustls(client));
    let texts = texts(1, "securemode=2,signmethod=hmacsha256,_ss=1", SECRET);
    let mut device = Client::connect(world.tls.unwrap(), texts, Some(transport)).await.unwrap();
    let mut got = Vec::new();
    while got.len() < file.len() {
        device.say(&downloads::topic(), &downloads::question(1, got.len(), BLOCK_MAX)).await;
        let block = device.publish().await.payload;
        got.extend_from_slice(downloads::taken_apart(&block).1.split_last_chunk::<2>().unwrap().0);
    }
    assert!(got == file);
}
