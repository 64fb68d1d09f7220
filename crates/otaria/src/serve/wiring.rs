//! Puts the server together: store, keys, engine, loops and faces; and takes it apart in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use otaria_api::{FaceAddress, FaceKind, GrpcFace, ServerInfo};
use otaria_core::link::LinkKey;
use otaria_core::time::Timestamp;
use otaria_core::vault::Vault;
use otaria_engine::auth::StoreAuth;
use otaria_engine::ownership::Owner;
use otaria_engine::{Commands, Deps, Shell};
use otaria_objects::{Links, Users};
use otaria_openapi::{ApiParts, BrokerHook, Check, FaceParts, Forms, HttpFace, StorePackages, StoreRejects};
use otaria_ports::auth::DeviceAuth;
use otaria_ports::clock::Clock;
use otaria_ports::ids::Ids;
use otaria_ports::objects::Objects;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_cron_scheduler::JobScheduler;

use super::base::{Base, Keeper, Shared};
use super::folder::{self, Folder};
use super::forms::HttpForms;
use super::gateway::MqttFace;
use super::history::Recording;
use super::inbox::QueueInbox;
use super::loops::Loops;
use super::{cron, telemetry};
use crate::config::Config;
use crate::ids::SystemIds;
use crate::keyfile::{self, AccessKey};

/// What is under way when the server stops may take this long.
const DRAIN: Duration = Duration::from_secs(15);
/// What is told last may take so long to leave the process.
const LAST_WORDS: Duration = Duration::from_millis(100);

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
    cron: Option<JobScheduler>,
    keeper: Keeper,
    recording: Recording,
    /// Left hints are passed on to those who go on.
    shell: Arc<Shell>,
    /// Whether others wait for this process's shards.
    hands_over: bool,
    // Held to the end: the folder is ours until the store is closed.
    _folder: Folder,
}

#[derive(Clone, Copy, serde::Serialize)]
struct Addresses {
    grpc: Option<SocketAddr>,
    http: SocketAddr,
    mqtt: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt_tls: Option<SocketAddr>,
}

impl Server {
    /// Starts everything that the roles ask for; returns when all faces listen.
    pub(crate) async fn start(config: Config) -> anyhow::Result<Self> {
        let metrics = telemetry::start_metrics()?;
        let ids: Arc<dyn Ids> = Arc::new(SystemIds);
        let roles = config.roles;
        let folder = Folder::open(&config.data_dir)?;
        let master = match &config.master_key_file {
            Some(file) => folder::shared_master_key(file)?,
            None => folder.master_key(&*ids)?,
        };
        let objects = open_objects(&config, &folder).await?;

        // Bound before anything runs: a taken port ends the start while nothing has happened yet.
        let bind = |face: &'static str, address| async move {
            let bound = TcpListener::bind(address).await;
            bound.with_context(|| format!("{face} cannot listen on {address}"))
        };
        let grpc = if roles.api { Some(bind("gRPC", config.grpc.listen).await?) } else { None };
        let http = bind("HTTP", config.http.listen).await?;
        let http_address = http.local_addr()?;

        let base = Base::open(&config, &folder, &ids).await?;
        let clock = Arc::clone(&base.clock);
        let shell = Shell::new(Deps {
            store: base.store(),
            objects: Arc::clone(&objects),
            presence: Arc::clone(&base.presence),
            pusher: Arc::clone(&base.pusher),
            pace: Arc::clone(&base.pace),
            bus: Arc::clone(&base.bus),
            ids: Arc::clone(&ids),
            vault: Vault::new(&master),
            link_key: LinkKey::from_master(&master),
            download_base: download_base(&config, http_address).into(),
            limits: config.limits(),
        });
        let commands = Commands::new(Arc::clone(&shell));
        let key_file = keyfile::path_in(folder.path());
        let new_key = if roles.api { admin_key(&commands, &*clock, &key_file).await? } else { None };

        let inbox = base.recording.inbox(QueueInbox::start(Arc::clone(&shell), Arc::clone(&clock)));
        if let Some(shared) = &base.shared {
            shared.give_inbox(Arc::clone(&inbox));
        }
        let (stop_loops, stop) = watch::channel(false);
        let mut loops = JoinSet::new();
        let links = base.shared.clone();
        let running = Loops {
            shell: Arc::clone(&shell),
            clock: Arc::clone(&clock),
            stop,
            news: Arc::clone(&base.news),
            linked: Arc::new(move || links.as_ref().is_none_or(|shared| shared.trouble().is_none())),
        };
        let mut cron = None;
        if roles.dispatcher {
            let now = clock.now();
            let member = base.keeper.join(now, base.lease).await?;
            let alone = !config.is_clustered();
            let owner = Owner::begin(Arc::clone(&shell), member, base.lease, alone, now).await;
            let owning = running.spawn(owner.context("taking shards")?, &mut loops);
            cron = Some(cron::start(&shell, &clock, &owning, config.retention()).await?);
        } else {
            running.spawn_listener(&mut loops);
        }

        let auth: Arc<dyn DeviceAuth> = Arc::new(StoreAuth::new(Arc::clone(&shell)));
        let mqtt = match &base.gateway {
            Some(parts) => Some(MqttFace::bind(&config, &base, parts, Arc::clone(&auth), inbox).await?),
            None => None,
        };
        let addresses = Addresses {
            grpc: grpc.as_ref().map(TcpListener::local_addr).transpose()?,
            http: http_address,
            mqtt: mqtt.as_ref().and_then(MqttFace::plain_address),
            mqtt_tls: mqtt.as_ref().and_then(MqttFace::tls_address),
        };

        let (stop_faces, stopping) = watch::channel(false);
        let until = move || {
            let mut stopping = stopping.clone();
            async move { drop(stopping.wait_for(|stop| *stop).await) }
        };
        let mut faces = JoinSet::new();
        let api = roles.api.then(|| ApiParts {
            commands: commands.clone(),
            nonces: base.keeper.nonces(),
            quotas: Arc::clone(&base.quotas),
            instance_id: config.http.instance_id.clone(),
        });
        if let Some(grpc) = grpc {
            let info = server_info(&config, &addresses);
            let forms = HttpForms(Forms::new(&LinkKey::from_master(&master), commands.clone()));
            let face = GrpcFace::new(commands, Arc::clone(&clock), Arc::clone(&base.quotas), info)
                .forms(Arc::new(forms))
                .tls(grpc_tls(&config)?)
                .allow_plaintext(config.allow_plaintext);
            let stop = until();
            faces.spawn(async move {
                if let Err(error) = face.serve(grpc, stop).await {
                    tracing::error!(error = %anyhow::Error::from(error), "gRPC ended");
                }
                "the gRPC face"
            });
        }
        let mut http_face = HttpFace::new(FaceParts {
            clock: Arc::clone(&clock),
            link_key: LinkKey::from_master(&master),
            packages: Arc::new(StorePackages(base.keeper.store())),
            rejects: Arc::new(StoreRejects(base.keeper.store())),
            objects: Arc::clone(&objects),
            ready: ready_check(Arc::clone(&shell), base.shared.clone()),
            metrics: Arc::new(move || metrics.render()),
            grpc: addresses.grpc.map(|address| address.to_string()).unwrap_or_default(),
            api,
        });
        if let Some(broker) = config.broker.target()? {
            http_face = http_face.with_broker(BrokerHook { auth, bridge: (broker.user, broker.password) });
        }
        let tls = match (&config.http.tls_certificate, &config.http.tls_key) {
            (Some(certificate), Some(key)) => Some(otaria_openapi::Tls::from_pem_files(certificate, key)?),
            _ => None,
        };
        let (face, stop) = (http_face.clone(), until());
        faces.spawn(async move {
            otaria_openapi::serve(http, face, tls, otaria_openapi::Limits::default(), stop).await;
            "the HTTP face"
        });
        if let Some(mqtt) = mqtt {
            mqtt.spawn(&mut faces, until);
        }

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
            keeper: base.keeper,
            recording: base.recording,
            shell,
            hands_over: config.is_clustered() && roles.dispatcher,
            _folder: folder,
        })
    }

    /// Tells where the faces are, and once the new admin key.
    pub(crate) fn announce(&self, json: bool) -> anyhow::Result<()> {
        let Addresses { grpc, http, mqtt, mqtt_tls } = self.addresses;
        let shown =
            |address: Option<SocketAddr>| address.map_or("-".to_owned(), |address| address.to_string());
        tracing::info!(grpc = shown(grpc), %http, mqtt = shown(mqtt), "ready");
        if json {
            let line = serde_json::json!({
                "grpc": grpc, "http": http, "mqtt": mqtt, "mqtt_tls": mqtt_tls,
                "pid": std::process::id(), "access_key_file": self.key_file,
            });
            println!("{line}");
            return Ok(());
        }
        println!("Otaria is ready: gRPC {}, HTTP {http}, MQTT {}", shown(grpc), shown(mqtt));
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
            () = self.keeper.ended() => "the store",
        }
    }

    /// Stops: no new work, what is under way ends, leases are handed over, the store is closed.
    pub(crate) async fn stop(self) {
        let Self {
            http,
            stop_faces,
            stop_loops,
            faces,
            loops,
            cron,
            keeper,
            recording,
            shell,
            hands_over,
            ..
        } = self;
        http.drain();
        stop_faces.send_replace(true);
        if hands_over {
            // Others take the shards at once; devices and callers here are let go meanwhile.
            stop_loops.send_replace(true);
        }
        end(faces.into_inner(), "connections").await;
        if let Some(mut cron) = cron
            && let Err(error) = cron.shutdown().await
        {
            tracing::warn!(%error, "periodic work did not stop cleanly");
        }
        stop_loops.send_replace(true);
        end(loops, "loops").await;
        // What calls and reports left since the loops ended; alone, the next start surveys everything.
        shell.pass_on_hints();
        tokio::time::sleep(LAST_WORDS).await;
        keeper.close().await;
        recording.end().await;
        tracing::info!("stopped");
    }
}

/// Waits for tasks that were told to end, and cuts them in the end.
async fn end<T: 'static>(mut tasks: JoinSet<T>, what: &'static str) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::warn!("some {what} did not end in time and are cut");
        tasks.abort_all();
    }
}

/// Where packages and lists lie.
async fn open_objects(config: &Config, folder: &Folder) -> anyhow::Result<Arc<dyn Objects>> {
    let place = config.objects.url.clone().unwrap_or_else(|| folder.objects().display().to_string());
    let users = if config.is_clustered() { Users::Several } else { Users::One };
    let links = if config.objects.presigned_downloads { Links::Presigned } else { Links::Never };
    otaria_objects::open(&place, users, links).await.context("opening the objects")
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

fn grpc_tls(config: &Config) -> anyhow::Result<Option<otaria_api::Tls>> {
    let (Some(certificate), Some(key)) = (&config.grpc.tls_certificate, &config.grpc.tls_key) else {
        return Ok(None);
    };
    let read =
        |path: &std::path::Path| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
    Ok(Some(otaria_api::Tls { certificates: read(certificate)?, private_key: read(key)? }))
}

fn ready_check(shell: Arc<Shell>, shared: Option<Shared>) -> otaria_openapi::ReadyCheck {
    Arc::new(move || {
        let (shell, shared) = (Arc::clone(&shell), shared.clone());
        Box::pin(async move {
            let trouble = |error: &dyn std::fmt::Display| Some(error.to_string());
            // Any instant will do: it is asked whether there is an answer.
            let store = shell.deps.store.shard_leases(Timestamp::EPOCH).await;
            let objects = shell.deps.objects.check().await;
            let mut checks = vec![
                Check { name: "store", trouble: store.err().and_then(|error| trouble(&error)) },
                Check { name: "objects", trouble: objects.err().and_then(|error| trouble(&error)) },
            ];
            checks.extend(shared.map(|shared| Check { name: "redis", trouble: shared.trouble() }));
            checks
        })
    })
}

fn server_info(config: &Config, addresses: &Addresses) -> ServerInfo {
    let face = |kind, address: SocketAddr, tls| FaceAddress { kind, address: address.to_string(), tls };
    let grpc = addresses.grpc;
    let grpc = grpc.map(|address| face(FaceKind::Grpc, address, config.grpc.tls_certificate.is_some()));
    let http = face(FaceKind::Http, addresses.http, config.http.tls_certificate.is_some());
    let mut faces: Vec<FaceAddress> = grpc.into_iter().chain([http]).collect();
    faces.extend(addresses.mqtt.map(|address| face(FaceKind::Mqtt, address, false)));
    faces.extend(addresses.mqtt_tls.map(|address| face(FaceKind::Mqtt, address, true)));
    ServerInfo { version: env!("CARGO_PKG_VERSION").into(), faces, api_quota: config.limits.api_quota }
}
