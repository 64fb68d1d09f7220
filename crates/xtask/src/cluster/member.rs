//! A cluster: PostgreSQL, Redis, and the processes of the product on them; or one process on SQLite.
//!
//! Invariant: a process that is started again has the addresses that it had before, as clients know them.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::net::Networks;
use super::operator::Operator;
use crate::process::{Launch, Life, Process, Signal, run};
use crate::services::{Ground, Kind, Postgres, Services, free_port};

const START_PATIENCE: Duration = Duration::from_secs(30);

/// The file that says what runs, in the folder of a cluster.
pub(crate) const STATE: &str = "cluster.json";

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Api,
    Dispatcher,
    Gateway,
    /// Everything.
    All,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Dispatcher => "dispatcher",
            Self::Gateway => "gateway",
            Self::All => "api,dispatcher,gateway",
        }
    }
}

/// How many of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
pub(crate) struct Size {
    /// Processes that serve the API.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) apis: usize,
    /// Processes that make the pushes.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) dispatchers: usize,
    /// Processes that hold the devices' connections.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) gateways: usize,
}

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Shape {
    /// One process with all roles, on SQLite.
    Embedded,
    /// One process with all roles, on PostgreSQL and Redis.
    Together,
    /// Each process has one role, on PostgreSQL and Redis.
    Apart(Size),
}

impl Shape {
    /// How many processes have this role and no other.
    pub(crate) fn count(self, role: Role) -> usize {
        self.roles().into_iter().filter(|(of, _)| *of == role).map(|(_, count)| count).sum()
    }

    /// What is started, and how often.
    fn roles(self) -> Vec<(Role, usize)> {
        match self {
            Self::Embedded | Self::Together => vec![(Role::All, 1)],
            Self::Apart(Size { apis, dispatchers, gateways }) => {
                vec![(Role::Api, apis), (Role::Gateway, gateways), (Role::Dispatcher, dispatchers)]
            }
        }
    }
}

/// What a cluster is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) folder: PathBuf,
    pub(crate) binary: PathBuf,
    pub(crate) shape: Shape,
    /// Further words for `otaria serve`.
    pub(crate) options: Vec<String>,
    /// What is broken on purpose, to see whether it is noticed.
    pub(crate) plant: Option<String>,
    pub(crate) outlives_us: bool,
}

impl Settings {
    const fn life(&self) -> Life {
        if self.outlives_us { Life::OnItsOwn } else { Life::WithUs }
    }
}

/// Where a process listens, as it says itself once it is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Addresses {
    pub(crate) grpc: Option<SocketAddr>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) mqtt: Option<SocketAddr>,
    pub(crate) mqtt_tls: Option<SocketAddr>,
}

/// A process of the product.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) role: Role,
    /// Its place among those of its role.
    pub(crate) place: usize,
    pub(crate) at: Addresses,
    pub(crate) process: Process,
}

/// A running cluster. Dropping it stops it, unless it was left alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) operator: Operator,
    /// Where devices download from: the HTTP face of the first API, which all processes have to know.
    downloads: SocketAddr,
    // Before the services and the networks: they go last.
    pub(crate) members: Vec<Member>,
    pub(crate) services: Option<Services>,
    pub(crate) networks: Option<Networks>,
}

impl Cluster {
    /// Starts everything, each in a network of its own if `networks` are given, and waits until it is ready.
    pub(crate) fn start(mut settings: Settings, networks: Option<Networks>) -> Result<Self> {
        std::fs::create_dir_all(settings.folder.join("logs"))?;
        settings.folder = settings.folder.canonicalize()?;
        let folder = &settings.folder;
        private(&folder.join("master-key"), &random(32)?)?;
        let (id, secret) = (format!("OT{}", hex(&random(10)?)), hex(&random(24)?));
        private(&folder.join("access-key"), format!("id={id}\nsecret={secret}\n").as_bytes())?;
        let operator = Operator {
            binary: settings.binary.clone(),
            key_id: id,
            key_secret: secret,
            namespace: networks.as_ref().map(|networks| networks.hub().to_owned()),
        };

        let services = match settings.shape {
            Shape::Embedded => None,
            Shape::Together | Shape::Apart(_) => Some(services(&settings, networks.as_ref())?),
        };
        let hub = networks.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Networks::hub_address);
        let downloads = SocketAddr::new(hub, free_port()?);
        let mut cluster = Self { settings, operator, downloads, members: Vec::new(), services, networks };
        if let Some(store) = cluster.store(cluster.hub())? {
            let mut migrate = cluster.operator.command();
            run(migrate.args(["migrate", "--store", &store])).context("making the tables")?;
        }
        for (role, count) in cluster.settings.shape.roles() {
            for place in 0..count {
                let first_api = matches!(role, Role::Api | Role::All) && place == 0;
                let at = Addresses { http: first_api.then_some(downloads), ..Addresses::default() };
                let (process, at) = cluster.launch(role, place, &at, &[])?;
                cluster.members.push(Member { role, place, at, process });
            }
        }
        Ok(cluster)
    }

    /// The addresses of the gRPC faces, `host:port`.
    pub(crate) fn grpc(&self) -> Vec<String> {
        self.addresses(&[Role::Api, Role::All], |at| at.grpc)
    }

    /// The addresses of the HTTP faces of the API.
    pub(crate) fn http(&self) -> Vec<String> {
        self.addresses(&[Role::Api, Role::All], |at| at.http)
    }

    /// The addresses of the gateways.
    pub(crate) fn mqtt(&self) -> Vec<String> {
        self.addresses(&[Role::Gateway, Role::All], |at| at.mqtt)
    }

    /// The same over TLS.
    pub(crate) fn mqtt_tls(&self) -> Vec<String> {
        self.addresses(&[Role::Gateway, Role::All], |at| at.mqtt_tls)
    }

    fn addresses(&self, roles: &[Role], of: impl Fn(&Addresses) -> Option<SocketAddr>) -> Vec<String> {
        let members = self.members.iter().filter(|member| roles.contains(&member.role));
        members.filter_map(|member| of(&member.at)).map(|address| address.to_string()).collect()
    }

    /// The member of this role at this place.
    pub(crate) fn member(&mut self, role: Role, place: usize) -> Result<&mut Member> {
        let mut members = self.members.iter_mut();
        let found = members.find(|member| member.role == role && member.place == place);
        found.with_context(|| format!("there is no {} {place}", role.name()))
    }

    pub(crate) fn services(&mut self) -> Result<&mut Services> {
        self.services.as_mut().context("this cluster is one process on SQLite")
    }

    /// Stops a member as an operator would, and starts it again where it was.
    pub(crate) fn restart(&mut self, role: Role, place: usize) -> Result<()> {
        let member = self.member(role, place)?;
        let ended = member.process.stop(Signal::TERM)?;
        ensure!(ended, "{} {place} did not end by SIGTERM", role.name());
        self.revive(role, place, &[])
    }

    /// Starts a member again that ended, where it was, with these variables in its environment.
    pub(crate) fn revive(&mut self, role: Role, place: usize, env: &[(&str, String)]) -> Result<()> {
        let at = self.member(role, place)?.at.clone();
        let (process, at) = self.launch(role, place, &at, env)?;
        let member = self.member(role, place)?;
        (member.process, member.at) = (process, at);
        Ok(())
    }

    /// The node of a member in a network of its own; `None` for those in the hub.
    pub(crate) fn node_of(&self, role: Role, place: usize) -> Option<usize> {
        let dispatchers = self.settings.shape.count(Role::Dispatcher);
        let node = match role {
            Role::Dispatcher => place,
            Role::Gateway => dispatchers + place,
            Role::Api | Role::All => return None,
        };
        self.networks.as_ref().filter(|networks| networks.has(node + 1)).map(|_| node)
    }

    /// Starts one process. `at` says where it was before.
    fn launch(
        &self,
        role: Role,
        place: usize,
        at: &Addresses,
        env: &[(&str, String)],
    ) -> Result<(Process, Addresses)> {
        let Settings { folder, binary, options, .. } = &self.settings;
        let name = if role == Role::All { "otaria".to_owned() } else { format!("{}-{place}", role.name()) };
        let (namespace, host) = match (&self.networks, self.node_of(role, place)) {
            (Some(networks), Some(node)) => {
                let (node, address) = networks.node(node)?;
                (Some(node), address)
            }
            (Some(networks), None) => (Some(networks.hub()), networks.hub_address()),
            (None, _) => (None, Ipv4Addr::LOCALHOST.into()),
        };
        let mut launch = Launch::new(&name, binary, &folder.join("logs"), self.settings.life())
            .namespace(namespace)
            .env("OTARIA_ACCESS_KEY_ID", &self.operator.key_id)
            .env("OTARIA_ACCESS_KEY_SECRET", &self.operator.key_secret)
            .args(["serve", "--json", "--data-dir"])
            .args([folder.join("data").join(&name)]);
        for (face, at) in [("--grpc", at.grpc), ("--http", at.http), ("--mqtt", at.mqtt)] {
            launch = launch.args([face, &at.unwrap_or(SocketAddr::new(host, 0)).to_string()]);
        }
        if let (Some(store), Some(redis)) = (self.store(self.hub())?, self.redis(self.hub())?) {
            launch = launch
                .args(["--role", role.name(), "--store", &store, "--redis", &redis, "--master-key-file"])
                .args([folder.join("master-key")])
                .args(["--objects"])
                .args([folder.join("objects")])
                .args(["--public-url", &format!("http://{}", self.downloads)]);
        }
        if !host.is_loopback() {
            launch = launch.args(["--allow-plaintext"]);
        }
        if let Some(plant) = &self.settings.plant {
            launch = launch.env("OTARIA_PLANT", plant).env("OTARIA_PLANT_I_TEST", "yes");
        }
        for (variable, value) in env {
            launch = launch.env(variable, value);
        }
        let (process, said) = launch.args(options).start_and_hear(START_PATIENCE)?;
        let at = serde_json::from_str(&said).with_context(|| format!("{name} said {said:?}"))?;
        Ok((process, at))
    }

    const fn hub(&self) -> IpAddr {
        self.downloads.ip()
    }

    fn store(&self, host: IpAddr) -> Result<Option<String>> {
        self.services.as_ref().map(|services| Ok(services.the_postgres()?.url_at(host))).transpose()
    }

    fn redis(&self, host: IpAddr) -> Result<Option<String>> {
        self.services.as_ref().map(|services| Ok(services.the_redis()?.url_at(host))).transpose()
    }

    /// Writes down what runs, for commands that come later.
    pub(crate) fn save(&self) -> Result<PathBuf> {
        let file = self.settings.folder.join(STATE);
        private(&file, &serde_json::to_vec_pretty(self)?)?;
        Ok(file)
    }

    /// Finds what an earlier command started.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let file = folder.join(STATE);
        let text = std::fs::read(&file)
            .with_context(|| format!("no cluster was started in {}", folder.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("in {}", file.display()))
    }

    /// Lets everything live on.
    pub(crate) fn leave(&mut self) {
        self.members.iter_mut().for_each(|member| member.process.leave());
        if let Some(services) = &mut self.services {
            services.leave();
        }
    }

    /// Stops everything: those that make work first, the stores last.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let order = [Role::Dispatcher, Role::Api, Role::Gateway, Role::All];
        let mut stopped = Ok(());
        for role in order {
            for member in self.members.iter_mut().filter(|member| member.role == role) {
                let ended = member.process.stop(Signal::TERM).and_then(|ended| {
                    ensure!(ended, "{} {} had to be killed", role.name(), member.place);
                    Ok(())
                });
                stopped = stopped.and(ended);
            }
        }
        self.members.clear();
        if let Some(services) = &mut self.services {
            stopped = stopped.and(services.stop());
        }
        stopped
    }

    pub(crate) fn postgres(&mut self) -> Result<&mut Postgres> {
        self.services()?.postgres()
    }
}

fn services(settings: &Settings, networks: Option<&Networks>) -> Result<Services> {
    let mut ground = Ground::new(&settings.folder, settings.life())?;
    if let Some(networks) = networks {
        ground = ground.within(networks.hub(), networks.hub_address());
    }
    Services::start_on(ground, &[Kind::Postgres, Kind::Redis])
}

fn private(file: &Path, bytes: &[u8]) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut open = options.open(file).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(open.write_all(bytes)?)
}

fn random(bytes: usize) -> Result<Vec<u8>> {
    let mut drawn = vec![0; bytes];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut drawn)?;
    Ok(drawn)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_what_a_process_says() {
        let said = r#"{"access_key_file":"x","grpc":"127.0.0.1:1","http":"127.0.0.1:2","mqtt":null,"pid":7}"#;
        let at: Addresses = serde_json::from_str(said).unwrap();
        assert_eq!((at.grpc.unwrap().port(), at.mqtt), (1, None));
        assert_eq!(serde_json::from_str::<Addresses>("{}").unwrap(), Addresses::default());
    }

    #[test]
    fn keys_are_drawn_anew() {
        assert_ne!(random(32).unwrap(), random(32).unwrap());
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
