//! Puts the server together: store, keys, engine, loops and faces; and takes it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use otaria_api::{FaceAddress, FaceKind, GrpcFace, ServerInfo};
use otaria_core::link::LinkKey;
use otaria_core::pace::HORIZON_EMBEDDED;
use otaria_core::vault::Vault;
use otaria_engine::auth::StoreAuth;
use otaria_engine::ownership::Owner;
use otaria_engine::{Commands, Deps, Shell};
use otaria_mqtt::{EventFeed, Gateway, GatewayConfig, NoticePusher, Ports, TlsConfig};
use otaria_objects::FolderObjects;
use otaria_openapi::{ApiParts, Check, FaceParts, HttpFace, StorePackages, StoreRejects};
use otaria_ports::bell::Bell;
use otaria_ports::bus::LocalBus;
use otaria_ports::clock::Clock;
use otaria_ports::ids::Ids;
use otaria_ports::objects::Objects;
use otaria_ports::pace::LocalPace;
use otaria_ports::presence::LocalPresence;
use otaria_ports::quotas::{NoQuotas, Quotas};
use otaria_ports::store::{Leases, Store};
use otaria_store::{SqliteOptions, SqliteStore};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_cron_scheduler::JobScheduler;

use super::folder::Folder;
use super::inbox::QueueInbox;
use super::loops::Loops;
use super::quotas::GovernedQuotas;
use super::{cron, telemetry};
use crate::clock::SystemClock;
use crate::config::{Config, MqttConfig};
use crate::ids::SystemIds;
use crate::keyfile::{self, AccessKey};

/// How long a lease lasts without renewal. Longer than tokens are dated ahead; after a crash nobody waits
/// for it, since the folder's lock tells that the old owner is gone.
const LEASE: Duration = Duration::from_secs(15);
/// What is under way when the server stops may take this long.
const DRAIN: Duration = Duration::from_secs(10);

/// A server that runs.
pub(crate) struct Server {
    addresses: Addresses,
    key_file: std::path::PathBuf,
    new_key: Option<AccessKey>,
    http: HttpFace,
    stop_faces: watch::Sender<bool>,
    stop_loops: watch::Sender<bool>,
    faces: tokio::sync::Mutex<JoinSet<&'static str>>,
    loops: JoinSet<()>,
    cron: JobScheduler,
    store: Arc<SqliteStore>,
    // Held to the end: the folder is ours until the store is closed.
    _folder: Folder,
}

#[derive(Clone, Copy, serde::Serialize)]
struct Addresses {
    grpc: SocketAddr,
    http: SocketAddr,
    mqtt: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_tls: Option<SocketAddr>,
}

impl Server {
    /// Starts everything; returns when all faces listen.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let metrics = telemetry::start_metrics()?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let folder = Folder::open(&config.data_dir)?;
        let master = folder.master_key(&*ids)?;
        let objects = FolderObjects::open(folder.objects()).await.context("opening the objects")?;
        objects.sweep_unfinished().await.context("sweeping unfinished uploads")?;
        let objects: Arc<dyn Objects> = Arc::new(objects);
        let feed = EventFeed::start();
        let store = SqliteStore::open(folder.database(), SqliteOptions::default(), Arc::clone(&feed) as _);
        let store = Arc::new(store.await.context("opening the store")?);

        // Bound before anything runs: a taken port ends the start while nothing has happened yet.
        let bind = |face: &'static str, address| async move {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("{face} cannot listen on {address}"))
        };
        let grpc = bind("gRPC", config.grpc.listen).await?;
        let http = bind("HTTP", config.http.listen).await?;

        let now = clock.now();
        let member = store.join(now, LEASE).await.context("joining")?;
        let news = Arc::new(Bell::default());
        let pusher = NoticePusher::new(Arc::clone(&clock));
        let presence = Arc::new(LocalPresence::new(member.0, Arc::clone(&news)));
        let http_address = http.local_addr()?;
        let shell = Shell::new(Deps {
            store: Arc::clone(&store) as Arc<dyn Store>,
            objects: Arc::clone(&objects),
            presence: Arc::clone(&presence) as _,
            pusher: Arc::clone(&pusher) as _,
            pace: Arc::new(LocalPace::new(HORIZON_EMBEDDED)),
            bus: Arc::new(LocalBus::new(Arc::clone(&news))),
            ids: Arc::clone(&ids),
            vault: Vault::new(&master),
            link_key: LinkKey::from_master(&master),
            download_base: download_base(&config, http_address).into(),
            limits: config.limits(),
        });
        let commands = Commands::new(Arc::clone(&shell));
        let key_file = keyfile::path_in(folder.path());
        let new_key = admin_key(&commands, &*clock, &key_file).await?;

        let owner =
            Owner::begin(Arc::clone(&shell), member, LEASE, true, now).await.context("taking shards")?;
        let gateway = Gateway::bind(
            gateway_config(&config.mqtt)?,
            Ports {
                auth: Arc::new(StoreAuth::new(Arc::clone(&shell))),
                inbox: QueueInbox::start(Arc::clone(&shell), Arc::clone(&clock)),
                presence,
                clock: Arc::clone(&clock),
                pusher,
                feed,
            },
        );
        let gateway = gateway.with_context(|| format!("MQTT cannot listen on {}", config.mqtt.listen))?;
        let addresses = Addresses {
            grpc: grpc.local_addr()?,
            http: http_address,
            mqtt: gateway.plain_address().context("MQTT has no address")?,
            mqtt_tls: gateway.tls_address(),
        };

        let (stop_loops, stop) = watch::channel(false);
        let mut loops = JoinSet::new();
        Loops { shell: Arc::clone(&shell), clock: Arc::clone(&clock), stop, news }.spawn(owner, &mut loops);
        let cron = cron::start(&shell, &clock, member, config.retention()).await?;

        let (stop_faces, stopping) = watch::channel(false);
        let until = move || {
            let mut stopping = stopping.clone();
            async move { drop(stopping.wait_for(|stop| *stop).await) }
        };
        let mut faces = JoinSet::new();
        let quotas: Arc<dyn Quotas> =
            if config.limits.api_quota { Arc::new(GovernedQuotas::new()) } else { Arc::new(NoQuotas) };
        let api = ApiParts {
            commands: commands.clone(),
            nonces: Arc::clone(&store) as _,
            quotas: Arc::clone(&quotas),
            instance_id: config.http.instance_id.clone(),
        };
        let grpc_face = GrpcFace::new(commands, Arc::clone(&clock), quotas, server_info(&config, &addresses))
            .tls(grpc_tls(&config)?)
            .allow_plaintext(config.allow_plaintext);
        let stop = until();
        faces.spawn(async move {
            if let Err(error) = grpc_face.serve(grpc, stop).await {
                tracing::error!(error = %anyhow::Error::from(error), "gRPC ended");
            }
            "the gRPC face"
        });
        let http_face = HttpFace::new(FaceParts {
            clock: Arc::clone(&clock),
            link_key: LinkKey::from_master(&master),
            packages: Arc::new(StorePackages(Arc::clone(&store))),
            rejects: Arc::new(StoreRejects(Arc::clone(&store))),
            objects: Arc::clone(&objects),
            ready: ready_check(Arc::clone(&shell)),
            metrics: Arc::new(move || metrics.render()),
            grpc: addresses.grpc.to_string(),
            api: Some(api),
        });
        let tls = match (&config.http.tls_certificate, &config.http.tls_key) {
            (Some(certificate), Some(key)) => Some(otaria_openapi::Tls::from_pem_files(certificate, key)?),
            _ => None,
        };
        let (face, stop) = (http_face.clone(), until());
        faces.spawn(async move {
            otaria_openapi::serve(http, face, tls, otaria_openapi::Limits::default(), stop).await;
            "the HTTP face"
        });
        let stop = until();
        faces.spawn(async move {
            gateway.run(stop).await;
            "the MQTT gateway"
        });

        Ok(Self {
            addresses,
            key_file,
            new_key,
            http: http_face,
            stop_faces,
            stop_loops,
            faces: tokio::sync::Mutex::new(faces),
            loops,
            cron,
            store,
            _folder: folder,
        })
    }

    /// Tells where the faces are, and once the new admin key.
    pub(crate) fn announce(&self, json: bool) -> anyhow::Result<()> {
        let Addresses { grpc, http, mqtt, mqtt_tls } = self.addresses;
        tracing::info!(%grpc, %http, %mqtt, "ready");
        if json {
            let line = serde_json::json!({
                "grpc": grpc, "http": http, "mqtt": mqtt, "mqtt_tls": mqtt_tls,
                "pid": std::process::id(), "access_key_file": self.key_file,
            });
            println!("{line}");
            return Ok(());
        }
        println!("Otaria is ready: gRPC {grpc}, HTTP {http}, MQTT {mqtt}");
        if let Some(key) = &self.new_key {
            println!(
                "Admin access key (shown once, kept in {}):\n  id      {}\n  secret  {}",
                self.key_file.display(),
                key.id,
                key.secret
            );
        }
        Ok(())
    }

    /// Waits until a face or the store ends by itself, which none should.
    pub(crate) async fn died(&self) -> &'static str {
        let mut faces = self.faces.lock().await;
        tokio::select! {
            ended = faces.join_next() => match ended {
                Some(Ok(name)) => name,
                Some(Err(_)) | None => "a face",
            },
            () = self.store.ended() => "the store",
        }
    }

    /// Stops: no new work, what is under way ends, leases are handed over, the store is closed.
    pub(crate) async fn stop(self) {
        let Self { http, stop_faces, stop_loops, faces, mut loops, mut cron, store, .. } = self;
        http.drain();
        stop_faces.send_replace(true);
        let mut faces = faces.into_inner();
        let ended = async { while faces.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
            faces.abort_all();
        }
        if let Err(error) = cron.shutdown().await {
            tracing::warn!(%error, "periodic work did not stop cleanly");
        }
        stop_loops.send_replace(true);
        let ended = async { while loops.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("some loops did not end in time and are cut");
            loops.abort_all();
        }
        store.close().await;
        tracing::info!("stopped");
    }
}

/// What download links begin with.
fn download_base(config: &Config, http: SocketAddr) -> String {
    let scheme = if config.http.tls_certificate.is_some() { "https" } else { "http" };
    let own = || format!("{scheme}://{http}");
    config.http.public_url.as_deref().map_or_else(own, |url| url.trim_end_matches('/').to_owned())
}

/// Makes sure that there is an admin key; a new one is kept in the key file.
async fn admin_key(
    commands: &Commands,
    clock: &dyn Clock,
    key_file: &std::path::Path,
) -> anyhow::Result<Option<AccessKey>> {
    let chosen = match (std::env::var("OTARIA_ACCESS_KEY_ID"), std::env::var("OTARIA_ACCESS_KEY_SECRET")) {
        (Ok(id), Ok(secret)) => Some((id, secret)),
        (Err(_), Err(_)) => None,
        _ => anyhow::bail!("OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET go together"),
    };
    let borrowed = chosen.as_ref().map(|(id, secret)| (id.as_str(), secret.as_str()));
    let made = commands.ensure_admin_key(clock.now(), borrowed).await.context("making the admin key")?;
    let Some((id, secret)) = made else { return Ok(None) };
    let key = AccessKey { id: id.to_string(), secret };
    keyfile::write(key_file, &key).with_context(|| format!("writing {}", key_file.display()))?;
    Ok(Some(key))
}

fn gateway_config(config: &MqttConfig) -> anyhow::Result<GatewayConfig> {
    let tls = match (&config.tls_listen, &config.tls_certificate, &config.tls_key) {
        (Some(listen), Some(certificate), Some(key)) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("reading {}", certificate.display()))?;
            let key =
                PrivateKeyDer::from_pem_file(key).with_context(|| format!("reading {}", key.display()))?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let server = rustls::ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
                .context("setting up TLS for MQTT")?;
            Some(TlsConfig { listen: *listen, server: Arc::new(server) })
        }
        _ => None,
    };
    Ok(GatewayConfig {
        plain: Some(config.listen),
        tls,
        max_connections: config.max_connections,
        connects_per_second: config.connects_per_second,
        ..GatewayConfig::default()
    })
}

fn grpc_tls(config: &Config) -> anyhow::Result<Option<otaria_api::Tls>> {
    let (Some(certificate), Some(key)) = (&config.grpc.tls_certificate, &config.grpc.tls_key) else {
        return Ok(None);
    };
    let read =
        |path: &std::path::Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    Ok(Some(otaria_api::Tls { certificates: read(certificate)?, private_key: read(key)? }))
}

fn ready_check(shell: Arc<Shell>) -> otaria_openapi::ReadyCheck {
    Arc::new(move || {
        let shell = Arc::clone(&shell);
        Box::pin(async move {
            let trouble = |error: &dyn std::fmt::Display| Some(error.to_string());
            let now = SystemClock.now();
            let store = shell.deps.store.shard_leases(now).await;
            let objects = shell.deps.objects.check().await;
            vec![
                Check { name: "store", trouble: store.err().and_then(|error| trouble(&error)) },
                Check { name: "objects", trouble: objects.err().and_then(|error| trouble(&error)) },
            ]
        })
    })
}

fn server_info(config: &Config, addresses: &Addresses) -> ServerInfo {
    let face = |kind, address: SocketAddr, tls| FaceAddress { kind, address: address.to_string(), tls };
    let mut faces = vec![
        face(FaceKind::Grpc, addresses.grpc, config.grpc.tls_certificate.is_some()),
        face(FaceKind::Http, addresses.http, config.http.tls_certificate.is_some()),
        face(FaceKind::Mqtt, addresses.mqtt, false),
    ];
    faces.extend(addresses.mqtt_tls.map(|address| face(FaceKind::Mqtt, address, true)));
    ServerInfo { version: env!("CARGO_PKG_VERSION").into(), faces, api_quota: config.limits.api_quota }
}
