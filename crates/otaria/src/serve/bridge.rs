//! The bridge to a broker that holds the devices, as one of the faces of a process.
//!
//! Of several processes one at a time runs it, under a lease; the others stand by. Who loses the lease ends its
//! process, and the next start stands by: what was on its way to the broker then is as lost as in a crash.
//!
//! Invariant: a bridge ends before its lease does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use otaria_mqtt::{BrokerConfig, BrokerPorts, serve_broker};
use otaria_redis::RedisLease;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::sleep;

use crate::config::{BrokerUrl, Config};

/// Between two renewals, or two tries to get the lease.
const BEAT: Duration = Duration::from_secs(2);
/// A bridge ends so long before its lease does: time to be out.
const MARGIN: Duration = Duration::from_secs(3);

/// How to reach the broker, if there is one.
pub(crate) fn settings(config: &Config) -> anyhow::Result<Option<BrokerConfig>> {
    let section = &config.broker;
    let Some(BrokerUrl { tls, host, port, user, password }) = section.target()? else { return Ok(None) };
    let tls = tls.then(|| trust(section.root_certificates.as_deref())).transpose()?;
    Ok(Some(BrokerConfig {
        tls,
        user: Some((user, password)),
        client_id: section.client_id.clone(),
        silence: Duration::from_secs(u64::from(section.silence_minutes) * 60),
        inflight: section.max_inflight,
        ..BrokerConfig::new(host, port)
    }))
}

/// TLS that trusts the authorities of a file, or those of the system.
fn trust(file: Option<&Path>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let doing = || format!("reading the certificates of {}", file.display());
            for certificate in CertificateDer::pem_file_iter(file).with_context(doing)? {
                roots.add(certificate.with_context(doing)?).with_context(doing)?;
            }
        }
        None => {
            // Some of a system's certificates may be of a kind that is not understood; the others do.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    anyhow::ensure!(
        !roots.is_empty(),
        "there is no authority to trust: name one by broker.root_certificates"
    );
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Bridges until `stop`, or until the lease is lost.
pub(crate) async fn run(
    config: BrokerConfig,
    ports: BrokerPorts,
    lease: Option<RedisLease>,
    stop: impl Future<Output = ()> + Send,
) {
    let Some(lease) = lease else { return serve_broker(config, ports, stop).await };
    tokio::pin!(stop);
    tokio::select! {
        () = &mut stop => return,
        () = get(&lease) => {}
    }
    tokio::select! {
        () = serve_broker(config, ports, stop) => {
            if let Err(error) = lease.give_up().await {
                tracing::warn!(%error, "the next bridge waits until the lease of this one is over");
            }
        }
        () = keep(&lease) => {}
    }
}

/// Returns when the lease is ours.
async fn get(lease: &RedisLease) {
    let mut told = false;
    loop {
        match lease.take().await {
            Ok(true) => return tracing::info!("this process bridges to the broker"),
            Ok(false) if !told => tracing::info!("another process bridges to the broker; this one stands by"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the lease of the bridge cannot be asked for"),
        }
        told = true;
        sleep(BEAT).await;
    }
}

/// Returns when the lease is not ours any more, or may not be.
async fn keep(lease: &RedisLease) {
    // Counted from before the asking; the lease itself from when it was answered.
    let mut over = Box::pin(sleep(RedisLease::LASTS - MARGIN));
    loop {
        let renewed = async {
            sleep(BEAT).await;
            let next = Box::pin(sleep(RedisLease::LASTS - MARGIN));
            (lease.take().await, next)
        };
        tokio::select! {
            () = &mut over => return tracing::error!("the lease of the bridge was not renewed in time"),
            (taken, next) = renewed => match taken {
                Ok(true) => over = next,
                Ok(false) => return tracing::error!("another process took the lease of the bridge"),
                Err(error) => tracing::warn!(%error, "the lease of the bridge was not renewed"),
            },
        }
    }
}
