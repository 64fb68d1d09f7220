//! Devices at a real Mosquitto over TLS, and the processes that bridge to it one after the other.

use std::sync::Arc;
use std::time::Duration;

use otaria_proto::v1::TaskStatus;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Instant;

use super::stage::{Cluster, Role};
use crate::broker::{broker, broker_config, inform_topic, known_version, login, version, write_list};
use crate::mqtt::Client;
use crate::rollout::{firmware, in_status, names_job, product, register, tasks};
use crate::server::Addresses;
use crate::{SOON, eventually, ms};

/// A lease lasts 15 s; asked for every two, on a machine that is busy.
const TAKEOVER: Duration = Duration::from_secs(40);

const BRIDGES: &str = "this process bridges to the broker";

/// Trusts one certificate.
fn trust(pem: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL and Redis: cargo xtask test runs it"]
async fn a_bridge_that_is_stopped_or_killed_is_replaced_and_idle_devices_are_reached() {
    use Role::{Api, Dispatcher, Gateway};
    let at = Addresses::fixed().mqtt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let certificate = certified.cert.pem();
    std::fs::write(path("certificate.pem"), &certificate).unwrap();
    std::fs::write(path("key.pem"), certified.signing_key.serialize_pem()).unwrap();
    let url = format!("mqtts://otaria:bridge%20secret@{at}");
    let config = format!(
        "[limits]\napi_quota = false\n[broker]\nurl = \"{url}\"\nroot_certificates = {:?}\n",
        path("certificate.pem")
    );
    let mut cluster = Cluster::start(&[Api, Dispatcher, Gateway, Gateway, Gateway], &config).await;
    let faces = cluster.faces().remove(0);
    let product = product(&faces, "takeover").await;
    let identities = register(&faces, &product, (0..3).map(|n| format!("unit-{n}"))).await;
    write_list(&path("devices.csv"), &identities);
    let tls = ["--run-as", "root", "--tls-certificate"];
    let (certificate_file, key_file) = (path("certificate.pem"), path("key.pem"));
    let files = [certificate_file.to_str().unwrap(), "--tls-key", key_file.to_str().unwrap()];
    let more = [&tls[..], &files[..]].concat();
    let ended = broker_config(&path("devices.csv"), &product, &url, &more, &path("mosquitto")).await;
    assert!(ended.status.success(), "{}", ended.stderr);
    let mut mosquitto = broker(&path("mosquitto").join("mosquitto.conf"), at).await;

    let mut devices = Vec::new();
    for identity in &identities {
        let login = login(&product, identity);
        let mut device = Client::connect_tls(trust(&certificate), at, login).await.unwrap();
        assert!(device.subscribe(&format!("/ota/device/upgrade/{product}/{}", identity.name)).await);
        eventually("the bridge hears", TAKEOVER, async || {
            device.say(&inform_topic(&product, identity), &version("1.0.0")).await;
            (known_version(&faces, &product, identity).await == "1.0.0").then_some(())
        })
        .await;
        devices.push(device);
    }

    // From here on nobody says anything but what it was told to do.
    let job = async |to: &str| {
        let firmware = firmware(&faces, &product, to).await;
        let names = identities.iter().map(|identity| identity.name.as_str());
        let request = names_job(&product, &firmware, names);
        faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id
    };
    let stopped = cluster.take_the_gateway_that_says(BRIDGES).expect("one bridges");
    stopped.stop();
    let begun = Instant::now();
    let first = job("2.0.0").await;
    eventually("another one bridges", TAKEOVER, async || {
        cluster.all(Gateway).iter().any(|gateway| gateway.says(BRIDGES)).then_some(())
    })
    .await;
    println!("{} ms after the stop another process bridges", ms(begun));
    for (device, identity) in devices.iter_mut().zip(&identities) {
        let notice = device.publish().await;
        assert!(String::from_utf8_lossy(&notice.payload).contains(r#""version":"2.0.0""#), "{notice:?}");
        device.say(&inform_topic(&product, identity), &version("2.0.0")).await;
    }
    println!("{} ms after the stop idle devices are told", ms(begun));
    eventually("all are updated", SOON, async || {
        (in_status(&tasks(&faces, &first).await, TaskStatus::Succeeded).len() == 3).then_some(())
    })
    .await;
    // The one that stood still finds its lease taken, and ends.
    stopped.go_on();
    let ended = stopped.ended().await;
    println!("the process whose lease was lost ended: {ended}");

    cluster.take_the_gateway_that_says(BRIDGES).expect("one bridges").kill().await;
    let begun = Instant::now();
    let second = job("3.0.0").await;
    eventually("the last one bridges", TAKEOVER, async || {
        cluster.all(Gateway).iter().any(|gateway| gateway.says(BRIDGES)).then_some(())
    })
    .await;
    for (device, identity) in devices.iter_mut().zip(&identities) {
        let notice = device.publish().await;
        assert!(String::from_utf8_lossy(&notice.payload).contains(r#""version":"3.0.0""#), "{notice:?}");
        device.say(&inform_topic(&product, identity), &version("3.0.0")).await;
    }
    println!("{} ms after the kill idle devices are told", ms(begun));
    eventually("all are updated again", SOON, async || {
        (in_status(&tasks(&faces, &second).await, TaskStatus::Succeeded).len() == 3).then_some(())
    })
    .await;
    mosquitto.kill().await.unwrap();
    cluster.end();
}
