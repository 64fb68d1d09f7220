//! Several processes of the product on one database and one Redis, and the devices at them.
//!
//! Invariant: when a cluster is gone, so are its processes, its database and its keys.

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use otaria_proto::v1::{DeviceStatus, QueryDeviceDetailRequest};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use super::services::Ground;
use crate::cloud::Cloud;
use crate::device::{Device, Temper};
use crate::faces::Faces;
use crate::rollout::{Identity, firmware, product, register};
use crate::server::{Addresses, otaria, run};
use crate::{SOON, eventually, http};

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(25);

/// All shards of devices.
const SHARDS: u32 = 256;

/// What every job of these tests brings.
pub(super) const VERSION: &str = "2.0.0";

/// The part of a process in the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Api,
    Dispatcher,
    Gateway,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Dispatcher => "dispatcher",
            Self::Gateway => "gateway",
        }
    }
}

/// Where a process says that it listens.
#[derive(Clone, Copy, Debug, Deserialize)]
struct At {
    grpc: Option<SocketAddr>,
    http: SocketAddr,
    mqtt: Option<SocketAddr>,
}

/// A process that is ready.
pub(super) struct Member {
    role: Role,
    at: At,
    child: Child,
    log: PathBuf,
}

impl Member {
    pub(super) fn mqtt(&self) -> SocketAddr {
        self.at.mqtt.expect("a gateway")
    }

    /// The sum of a metric's samples with this label, as the process shows it.
    pub(super) async fn metric(&self, name: &str, label: &str) -> u32 {
        let text = http::get(self.at.http, "/metrics").await.text;
        let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<u32>().unwrap()).sum()
    }

    /// How many shards it owns.
    pub(super) async fn shards(&self) -> u32 {
        self.metric("otaria_shards_owned", "").await
    }

    /// `kill -9`, and waits until the process is gone.
    pub(super) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Whether its log has this.
    pub(super) fn says(&self, words: &str) -> bool {
        std::fs::read_to_string(&self.log).unwrap().contains(words)
    }

    /// SIGSTOP: the process stands still until it is told to go on.
    pub(super) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub(super) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(super) async fn ended(mut self) -> ExitStatus {
        let ended = timeout(STOP_PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log.display())).unwrap()
    }

    fn pid(&self) -> Pid {
        self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap()
    }

    /// SIGTERM, and waits for the end.
    pub(super) async fn terminate(mut self) -> ExitStatus {
        kill_process(self.pid(), Signal::TERM).unwrap();
        let ended = timeout(STOP_PATIENCE, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not stop on SIGTERM: {}", self.log.display())).unwrap()
    }
}

/// See the module.
pub(super) struct Cluster {
    ground: Ground,
    folder: TempDir,
    key: [String; 2],
    /// Whether the processes are told the key, or make one.
    chosen: bool,
    downloads: SocketAddr,
    started: usize,
    members: Vec<Member>,
}

impl Cluster {
    /// Makes the tables and starts these processes, all at once; `config` is what they are told beside.
    pub(super) async fn start(roles: &[Role], config: &str) -> Self {
        let mut cluster = Self::prepare(true, config).await;
        cluster.add(roles).await;
        cluster
    }

    /// The same with processes that are told no access key; those that they left in their files.
    pub(super) async fn start_without_key(roles: &[Role]) -> (Self, Vec<[String; 2]>) {
        let mut cluster = Self::prepare(false, "").await;
        cluster.add(roles).await;
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(cluster.folder.path()).unwrap() {
            let Ok(text) = std::fs::read_to_string(entry.unwrap().path().join("access-key")) else {
                continue;
            };
            let value =
                |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
            keys.push([value("id="), value("secret=")]);
        }
        (cluster, keys)
    }

    async fn prepare(chosen: bool, config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("otaria-cluster-").tempdir().unwrap();
        let key = [
            format!("OT{:016X}", rand::random::<u64>()),
            format!("{:032x}{:016x}", rand::random::<u128>(), rand::random::<u64>()),
        ];
        let downloads = Addresses::fixed().http;
        let ground = Ground::new();
        let cluster = Self { ground, folder, key, chosen, downloads, started: 0, members: Vec::new() };
        let at = |name: &str| cluster.folder.path().join(name);
        std::fs::write(at("master-key"), rand::random::<[u8; 32]>()).unwrap();
        let prefix = format!("[redis]\nprefix = \"{}\"\n", cluster.ground.prefix());
        std::fs::write(at("otaria.toml"), prefix + config).unwrap();

        let mut migrate = otaria();
        let ended = run(migrate.args(["migrate", "--store", &cluster.ground.store()]), START_PATIENCE).await;
        assert!(ended.status.success(), "{}", ended.stderr);
        cluster
    }

    /// Starts more processes, all at once, and waits until they are ready.
    pub(super) async fn add(&mut self, roles: &[Role]) {
        let numbered = roles.iter().enumerate().map(|(n, role)| (self.started + n, *role));
        let starts: Vec<_> = numbered.map(|(number, role)| self.launch(number, role)).collect();
        let members = join_all(starts).await;
        self.started += roles.len();
        self.members.extend(members);
    }

    async fn launch(&self, number: usize, role: Role) -> Member {
        let name = format!("{}-{number}", role.name());
        let path = |name: &str| self.folder.path().join(name);
        let log = path(&format!("{name}.log"));
        let errors = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let key = ["OTARIA_ACCESS_KEY_ID", "OTARIA_ACCESS_KEY_SECRET"].into_iter().zip(&self.key);
        // Downloads come from the first process, which is an API.
        let http = if number == 0 { self.downloads.to_string() } else { "127.0.0.1:0".to_owned() };
        let mut child = otaria()
            .args(["serve", "--json", "--role", role.name(), "--store", &self.ground.store()])
            .args(["--redis", self.ground.redis(), "--public-url", &format!("http://{}", self.downloads)])
            .args(["--grpc", "127.0.0.1:0", "--http", &http, "--mqtt", "127.0.0.1:0", "--data-dir"])
            .arg(path(&name))
            .arg("--master-key-file")
            .arg(path("master-key"))
            .arg("--objects")
            .arg(path("objects"))
            .arg("--config")
            .arg(path("otaria.toml"))
            .envs(key.filter(|_| self.chosen))
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = timeout(START_PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = first else {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("{name} is not ready: {first:?}\n{said}")
        };
        let at = serde_json::from_str(&line).unwrap();
        // A full pipe must never stop the process.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Member { role, at, child, log }
    }

    /// The processes of a role, in the order of their starts.
    pub(super) fn all(&self, role: Role) -> Vec<&Member> {
        self.members.iter().filter(|member| member.role == role).collect()
    }

    /// Takes the dispatcher out of the cluster that owns more shards than any other.
    pub(super) async fn take_the_larger_dispatcher(&mut self) -> Member {
        let mut most = (0, 0);
        for (place, member) in self.members.iter().enumerate() {
            if member.role == Role::Dispatcher {
                most = most.max((member.shards().await, place));
            }
        }
        assert!(most.0 >= SHARDS / 2, "{most:?}");
        self.members.remove(most.1)
    }

    /// Takes the gateway out of the cluster that has said this.
    pub(super) fn take_the_gateway_that_says(&mut self, words: &str) -> Option<Member> {
        let is_meant = |member: &Member| member.role == Role::Gateway && member.says(words);
        let place = self.members.iter().position(is_meant)?;
        Some(self.members.remove(place))
    }

    /// Takes the dispatcher out that was started first of those that are there.
    pub(super) fn take_the_older_dispatcher(&mut self) -> Member {
        let place = self.members.iter().position(|member| member.role == Role::Dispatcher).unwrap();
        self.members.remove(place)
    }

    /// Waits until all shards are owned, each dispatcher having its fair part.
    pub(super) async fn until_shared_out(&self) {
        let dispatchers = self.all(Role::Dispatcher);
        let fair = SHARDS / u32::try_from(dispatchers.len()).unwrap();
        eventually("the shards are shared out", Duration::from_secs(30), async || {
            let owned = join_all(dispatchers.iter().map(|member| member.shards())).await;
            owned.iter().all(|count| *count == fair).then_some(())
        })
        .await;
    }

    /// The gRPC faces of all APIs.
    pub(super) fn faces(&self) -> Vec<Faces> {
        self.faces_of(&self.key)
    }

    pub(super) fn faces_of(&self, key: &[String; 2]) -> Vec<Faces> {
        self.all(Role::Api).iter().map(|member| Faces::new(member.at.grpc.unwrap(), key)).collect()
    }

    /// The HTTP faces of all APIs.
    pub(super) fn clouds(&self) -> Vec<Cloud> {
        self.clouds_of(&self.key)
    }

    pub(super) fn clouds_of(&self, key: &[String; 2]) -> Vec<Cloud> {
        self.all(Role::Api).iter().map(|member| Cloud::new(member.at.http, key.clone())).collect()
    }

    pub(super) fn key(&self) -> [String; 2] {
        self.key.clone()
    }

    /// Ends everything. Fails if a process has panicked.
    pub(super) fn end(self) {
        for entry in std::fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let log = std::fs::read_to_string(&path).unwrap();
                let panic = log.lines().find(|line| line.contains("panicked"));
                assert_eq!(panic, None, "{}", path.display());
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // One that has ended cannot be killed.
            let _ = member.child.start_kill();
        }
        let cleared = self.ground.clear();
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the logs are kept: {} ({cleared:?})", self.folder.path().display());
        } else {
            cleared.unwrap();
        }
    }
}

/// A product with devices at the gateways in turn, and a firmware for them.
pub(super) struct Crew {
    pub(super) product: String,
    pub(super) firmware: String,
    pub(super) devices: Vec<Device>,
    /// Registered, and nowhere.
    pub(super) spare: Identity,
}

impl Crew {
    pub(super) async fn gather(cluster: &Cluster, count: usize) -> Self {
        let faces = &cluster.faces()[0];
        let product = product(faces, "cluster_test").await;
        let names = (0..=count).map(|n| format!("unit-{n:02}"));
        let mut identities = register(faces, &product, names).await;
        let spare = identities.pop().unwrap();
        let gateways = cluster.all(Role::Gateway);
        let good = Temper::Good(Duration::from_millis(50));
        let at = |(n, identity): (usize, &Identity)| {
            Device::start(gateways[n % gateways.len()].mqtt(), &product, identity, good)
        };
        let devices: Vec<Device> = identities.iter().enumerate().map(at).collect();
        let firmware = firmware(faces, &product, VERSION).await;
        let crew = Self { product, firmware, devices, spare };
        crew.until("all are online", |device| device.informed() == "1.0.0").await;
        crew
    }

    pub(super) async fn until(&self, what: &str, is: impl Fn(&Device) -> bool) {
        let patience = Duration::from_secs(60);
        eventually(what, patience, async || self.devices.iter().all(&is).then_some(())).await;
    }

    pub(super) fn told(&self) -> usize {
        self.devices.iter().filter(|device| device.was_told(VERSION)).count()
    }

    pub(super) async fn until_told(&self, count: usize) {
        eventually("devices are told", SOON, async || (self.told() >= count).then_some(())).await;
    }

    pub(super) fn names(&self) -> Vec<&str> {
        self.devices.iter().map(Device::name).collect()
    }

    /// What the API says about a device's connection.
    pub(super) async fn status(&self, faces: &Faces, name: &str) -> DeviceStatus {
        let request = QueryDeviceDetailRequest {
            product_key: Some(self.product.clone()),
            device_name: Some(name.to_owned()),
            ..QueryDeviceDetailRequest::default()
        };
        faces.devices().query_device_detail(request).await.unwrap().into_inner().status()
    }
}
