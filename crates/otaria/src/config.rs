//! The server's configuration: one file of which every line may be left out, and flags over it.
//!
//! Unknown keys are refused: a mistyped limit must not silently be the default.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use otaria_core::list::ListLimits;
use otaria_core::rules::Limits;
use serde::Deserialize;

mod broker;
mod faces;
mod history;

pub(crate) use self::broker::{BrokerSection, BrokerUrl};
use self::faces::loopback;
pub(crate) use self::faces::{Face, HttpConfig, MqttConfig};
use self::history::HistorySection;

/// Everything that can be configured, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What this process does: any of `api`, `dispatcher`, `gateway`; all of them in one process by default.
    pub(crate) roles: Roles,
    /// Folder of everything the server keeps that is not elsewhere.
    pub(crate) data_dir: PathBuf,
    /// File of the 32 bytes under which secrets are sealed and links signed; the same for all processes. Without
    /// it the key lies in the data folder.
    pub(crate) master_key_file: Option<PathBuf>,
    /// Whether faces without TLS may listen beyond this machine.
    pub(crate) allow_plaintext: bool,
    /// The database.
    pub(crate) store: StoreConfig,
    /// What processes share.
    pub(crate) redis: RedisSection,
    /// Where packages and lists lie.
    pub(crate) objects: ObjectsConfig,
    /// gRPC.
    pub(crate) grpc: Face,
    /// HTTP.
    pub(crate) http: HttpConfig,
    /// MQTT.
    pub(crate) mqtt: MqttConfig,
    /// A broker that holds the devices in place of our gateway.
    pub(crate) broker: BrokerSection,
    /// What callers may ask for.
    pub(crate) limits: LimitsConfig,
    /// How long things are kept.
    pub(crate) retention: RetentionConfig,
    /// Where it is written down what the server decides.
    pub(crate) history: HistorySection,
    /// What is told on standard error.
    pub(crate) log: LogConfig,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub(crate) struct Roles {
    /// gRPC and the cloud-compatible API over HTTP.
    pub(crate) api: bool,
    /// Paces and pushes, carries jobs, and runs what is periodic.
    pub(crate) dispatcher: bool,
    /// Holds devices.
    pub(crate) gateway: bool,
}

impl Roles {
    /// Everything in one process.
    pub(crate) const ALL: Self = Self { api: true, dispatcher: true, gateway: true };
}

impl TryFrom<Vec<String>> for Roles {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let mut roles = Self { api: false, dispatcher: false, gateway: false };
        for name in &names {
            match name.trim() {
                "api" => roles.api = true,
                "dispatcher" => roles.dispatcher = true,
                "gateway" => roles.gateway = true,
                other => return Err(format!("`{other}` is none of `api`, `dispatcher`, `gateway`")),
            }
        }
        if names.is_empty() {
            Err("name at least one of `api`, `dispatcher`, `gateway`".into())
        } else {
            Ok(roles)
        }
    }
}

impl std::str::FromStr for Roles {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(str::to_owned).collect::<Vec<_>>().try_into()
    }
}

/// A text that may hold a password, and is not shown.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.0.split_once("://").map_or("", |(scheme, _)| scheme);
        write!(f, "{scheme}://…")
    }
}

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

/// The database.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StoreConfig {
    /// `postgres://user:password@host/database`; SQLite in the data folder without it.
    pub(crate) url: Option<Hidden>,
    /// Connections to PostgreSQL at most.
    pub(crate) max_connections: u32,
    /// Whether a start brings the schema up to date; otherwise `otaria migrate` does.
    pub(crate) migrate: bool,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: None, max_connections: 16, migrate: false }
    }
}

/// What several processes share.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RedisSection {
    /// `redis://…`, `rediss://…`, `redis+sentinel://…/master` or `redis+cluster://…`.
    pub(crate) url: Option<Hidden>,
    /// What every key begins with.
    pub(crate) prefix: String,
    /// PEM file of the authorities to trust with TLS in place of the system's.
    pub(crate) root_certificates: Option<PathBuf>,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self { url: None, prefix: "otaria".into(), root_certificates: None }
    }
}

/// Where packages and lists lie.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ObjectsConfig {
    /// A folder, or `s3://bucket/prefix`; `objects` in the data folder without it.
    pub(crate) url: Option<String>,
    /// Whether platforms are told addresses of the bucket itself over gRPC, good for 15 minutes; devices never are.
    pub(crate) presigned_downloads: bool,
}

/// What callers may ask for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LimitsConfig {
    /// The largest MaximumPerMinute.
    pub(crate) maximum_per_minute_ceiling: Ceiling,
    /// Lines of a device list file at most.
    pub(crate) list_max_lines: u64,
    /// Bytes of a device list file at most.
    pub(crate) list_max_bytes: u64,
    /// Bytes of a package file at most.
    pub(crate) firmware_max_bytes: u64,
    /// Whether accounts may call each action only so often.
    pub(crate) api_quota: bool,
    /// Calls a second of an action per account, in the place of the seed API's; 0 lifts the limit.
    pub(crate) quotas: BTreeMap<String, u32>,
}

/// A number, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CeilingText")]
pub(crate) struct Ceiling(pub Option<u32>);

#[derive(Deserialize)]
#[serde(untagged)]
enum CeilingText {
    Number(u32),
    Text(String),
}

impl TryFrom<CeilingText> for Ceiling {
    type Error = String;

    fn try_from(text: CeilingText) -> Result<Self, String> {
        match text {
            CeilingText::Number(number) => number.to_string().parse(),
            CeilingText::Text(text) => text.parse(),
        }
    }
}

impl std::str::FromStr for Ceiling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u32>() {
            Ok(number) if number >= 10 => Ok(Self(Some(number))),
            _ if text == "off" => Ok(Self(None)),
            _ => Err(format!("`{text}` is neither a number from 10 nor `off`")),
        }
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RetentionConfig {
    /// Days that jobs are kept after their end, with their tasks.
    pub(crate) jobs_days: u32,
    /// Hours that uploads are kept which no firmware and no unfinished job uses.
    pub(crate) uploads_hours: u32,
}

/// What is told on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogConfig {
    /// A filter such as `info` or `otaria_engine=debug,info`.
    pub(crate) filter: String,
    /// `text` or `json`.
    pub(crate) format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            roles: Roles::ALL,
            data_dir: "./otaria-data".into(),
            master_key_file: None,
            store: StoreConfig::default(),
            redis: RedisSection::default(),
            objects: ObjectsConfig::default(),
            allow_plaintext: false,
            grpc: Face { listen: loopback(50051), tls_certificate: None, tls_key: None },
            http: HttpConfig::default(),
            mqtt: MqttConfig::default(),
            broker: BrokerSection::default(),
            limits: LimitsConfig::default(),
            retention: RetentionConfig::default(),
            history: HistorySection::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let Limits { maximum_per_minute_ceiling, list, firmware_max_bytes } = Limits::default();
        Self {
            maximum_per_minute_ceiling: Ceiling(maximum_per_minute_ceiling),
            list_max_lines: list.max_lines,
            list_max_bytes: list.max_bytes,
            firmware_max_bytes,
            api_quota: true,
            quotas: BTreeMap::new(),
        }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self { jobs_days: 90, uploads_hours: 24 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".into(), format: LogFormat::Text }
    }
}

impl Config {
    /// Reads a file, or takes the defaults.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let Some(file) = file else { return Ok(Self::default()) };
        let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", file.display()))
    }

    /// Whether this is one of several processes on a shared database.
    pub(crate) const fn is_clustered(&self) -> bool {
        self.store.url.is_some()
    }

    fn check_roles(&self) -> anyhow::Result<()> {
        if self.store.url.is_some() != self.redis.url.is_some() {
            bail!(
                "store.url and redis.url go together: several processes share both, one alone needs neither"
            );
        }
        if let Some(Hidden(url)) = &self.store.url
            && !url.starts_with("postgres://")
            && !url.starts_with("postgresql://")
        {
            bail!("store.url must begin with postgres://; SQLite needs no URL, it lies in data_dir");
        }
        if !self.is_clustered() {
            if self.roles != Roles::ALL {
                bail!(
                    "roles: a process with some of the roles needs store.url and redis.url to meet the others"
                );
            }
            return Ok(());
        }
        if self.master_key_file.is_none() {
            bail!("master_key_file is needed with store.url: all processes open the same secrets");
        }
        if !self.roles.api && self.http.public_url.is_none() {
            bail!("http.public_url is needed without the role api: notices name the address of downloads");
        }
        Ok(())
    }

    fn check_broker(&self) -> anyhow::Result<()> {
        self.broker.check(self.allow_plaintext)?;
        let Some(broker) = self.broker.target()? else { return Ok(()) };
        let own = self.mqtt.listen;
        if self.roles.gateway && broker.ip() == Some(own.ip()) && broker.port == own.port() {
            bail!(
                "mqtt.listen and broker.url are the same address, {own}: beside a broker this server's own MQTT \
                 port is for the event feed only; give it another one (--mqtt)"
            );
        }
        Ok(())
    }

    /// Checks what no single value can tell.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.check_roles()?;
        self.check_broker()?;
        crate::serve::quotas::per_second(&self.limits.quotas)?;
        let pairs = [
            ("grpc", &self.grpc.tls_certificate, &self.grpc.tls_key),
            ("http", &self.http.tls_certificate, &self.http.tls_key),
            ("mqtt", &self.mqtt.tls_certificate, &self.mqtt.tls_key),
        ];
        for (face, certificate, key) in pairs {
            if certificate.is_some() != key.is_some() {
                bail!("{face}: tls_certificate and tls_key go together; name both or none");
            }
        }
        if self.mqtt.tls_listen.is_some() != self.mqtt.tls_certificate.is_some() {
            bail!("mqtt: tls_listen needs tls_certificate and tls_key, and they need tls_listen");
        }
        let plain = [
            ("grpc", self.grpc.listen, self.grpc.tls_certificate.is_none()),
            ("http", self.http.listen, self.http.tls_certificate.is_none()),
            ("mqtt", self.mqtt.listen, true),
        ];
        for (face, listen, is_plain) in plain {
            if is_plain && !listen.ip().is_loopback() && !self.allow_plaintext {
                bail!(
                    "{face} would listen on {listen} without TLS, readable by the network: configure TLS, \
                     or say --allow-plaintext where the network itself is trusted"
                );
            }
        }
        Ok(())
    }

    /// The limits for the rules.
    pub(crate) const fn limits(&self) -> Limits {
        Limits {
            maximum_per_minute_ceiling: self.limits.maximum_per_minute_ceiling.0,
            list: ListLimits { max_lines: self.limits.list_max_lines, max_bytes: self.limits.list_max_bytes },
            firmware_max_bytes: self.limits.firmware_max_bytes,
        }
    }

    /// The retention for the janitor.
    pub(crate) fn retention(&self) -> otaria_engine::janitor::Retention {
        const HOUR: u64 = 3_600;
        otaria_engine::janitor::Retention {
            uploads: Duration::from_secs(u64::from(self.retention.uploads_hours) * HOUR),
            jobs: Duration::from_secs(u64::from(self.retention.jobs_days) * 24 * HOUR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_parses_and_the_one_of_defaults_is_the_defaults() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        let mut samples = 0;
        for entry in std::fs::read_dir(&deploy).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let config = Config::load(Some(&path)).unwrap();
                config.check().unwrap();
                samples += 1;
            }
        }
        assert!(samples > 0);
        let written = Config::load(Some(&deploy.join("otaria.toml"))).unwrap();
        assert_eq!(format!("{written:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn a_mistyped_key_is_refused_by_name() {
        let error = toml::from_str::<Config>("[limits]\nmaximum_per_minut = 5").unwrap_err();
        assert!(error.to_string().contains("maximum_per_minut"), "{error}");
    }

    #[test]
    fn a_ceiling_is_a_number_or_off() {
        let ceiling = |text: &str| text.parse::<Ceiling>();
        assert_eq!(ceiling("off"), Ok(Ceiling(None)));
        assert_eq!(ceiling("500"), Ok(Ceiling(Some(500))));
        assert!(ceiling("9").is_err() && ceiling("no").is_err());
    }

    #[test]
    fn processes_with_some_roles_share_everything() {
        let parse = |text: &str| toml::from_str::<Config>(text).unwrap();
        let alone = parse("roles = [\"api\"]");
        assert!(alone.check().unwrap_err().to_string().contains("store.url"));
        let shared = "master_key_file = \"k\"\nroles = [\"api\"]\n[store]\nurl = \"postgres://a:secret@b/c\"";
        assert!(parse(shared).check().unwrap_err().to_string().contains("redis.url"));
        let whole = parse(&format!("{shared}\n[redis]\nurl = \"redis://b\""));
        whole.check().unwrap();
        assert!(!format!("{whole:?}").contains("secret"));
        let gateway = Config { roles: "gateway".parse().unwrap(), ..whole };
        assert!(gateway.check().unwrap_err().to_string().contains("public_url"));
        assert!("api,broker".parse::<Roles>().is_err());
    }

    #[test]
    fn plaintext_beyond_this_machine_must_be_allowed_by_name() {
        let mut config = Config::default();
        config.grpc.listen = "0.0.0.0:1".parse().unwrap();
        assert!(config.check().unwrap_err().to_string().contains("--allow-plaintext"));
        config.allow_plaintext = true;
        config.check().unwrap();
    }
}
