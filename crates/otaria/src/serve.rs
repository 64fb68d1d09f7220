//! `otaria serve`: the server, all roles in one process. The only place where everything is wired together.

mod allocator;
mod base;
mod bridge;
mod cron;
mod folder;
mod forms;
mod gateway;
mod history;
mod inbox;
mod loops;
mod plant;
pub(crate) mod quotas;
mod telemetry;
mod wiring;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Ceiling, Config, Hidden, Roles};

/// What the server is told on its command line.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  otaria serve
  otaria serve --data-dir /var/lib/otaria --config /etc/otaria/otaria.toml
  otaria serve --grpc 127.0.0.1:0 --http 127.0.0.1:0 --mqtt 127.0.0.1:0 --json
  otaria serve --role dispatcher --store postgres://… --redis redis://… --master-key-file key --public-url http://…

The first start makes an admin access key, prints it once and keeps it in DIR/access-key. Choose your own
with OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET. All settings: deploy/otaria.toml.")]
pub(crate) struct ServeArgs {
    /// Folder of everything the server keeps [default: ./otaria-data].
    #[arg(long, env = "OTARIA_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address of the gRPC face [default: 127.0.0.1:50051].
    #[arg(long, env = "OTARIA_GRPC", value_name = "ADDRESS")]
    pub(crate) grpc: Option<SocketAddr>,
    /// Address of the HTTP face [default: 127.0.0.1:8080].
    #[arg(long, env = "OTARIA_HTTP", value_name = "ADDRESS")]
    pub(crate) http: Option<SocketAddr>,
    /// Address of the MQTT face [default: 127.0.0.1:1883].
    #[arg(long, env = "OTARIA_MQTT", value_name = "ADDRESS")]
    pub(crate) mqtt: Option<SocketAddr>,
    /// What this process does: any of `api`, `dispatcher`, `gateway` [default: all].
    #[arg(long, env = "OTARIA_ROLE", value_name = "ROLE,…")]
    pub(crate) role: Option<Roles>,
    /// PostgreSQL for several processes, as `postgres://user:password@host/database` [default: SQLite in DIR].
    #[arg(long, env = "OTARIA_STORE_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) store: Option<Hidden>,
    /// Redis for what processes share; with --store.
    #[arg(long, env = "OTARIA_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis: Option<Hidden>,
    /// An MQTT broker that holds the devices, as `mqtt://user:password@host:1883` or `mqtts://…` [default: none,
    /// devices connect to this server].
    #[arg(long, env = "OTARIA_BROKER_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) broker: Option<Hidden>,
    /// Where packages and lists lie: a folder, or `s3://bucket/prefix` [default: DIR/objects].
    #[arg(long, env = "OTARIA_OBJECTS", value_name = "FOLDER|URL")]
    pub(crate) objects: Option<String>,
    /// File of the 32 bytes under which secrets are sealed, the same for all processes [default: DIR/master-key].
    #[arg(long, env = "OTARIA_MASTER_KEY_FILE", value_name = "FILE")]
    pub(crate) master_key_file: Option<PathBuf>,
    /// How devices reach the HTTP face: what download links begin with [default: its own address].
    #[arg(long, env = "OTARIA_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Config file.
    #[arg(long, env = "OTARIA_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Check the config, say what it means, and end.
    #[arg(long)]
    pub(crate) check_config: bool,
    /// Folder in which everything that the server decides is written down, to be checked by `otaria check-history`
    /// [default: none].
    #[arg(long, env = "OTARIA_HISTORY", value_name = "DIR")]
    pub(crate) history: Option<PathBuf>,
    /// Largest MaximumPerMinute that a job may ask for [default: 10000].
    #[arg(long, env = "OTARIA_MAXIMUM_PER_MINUTE_CEILING", value_name = "N|off")]
    pub(crate) maximum_per_minute_ceiling: Option<Ceiling>,
    /// Whether the quotas of the API hold [default: on].
    #[arg(long, env = "OTARIA_API_QUOTA", value_name = "on|off", value_parser = on_off)]
    pub(crate) api_quota: Option<bool>,
    /// Allow faces without TLS on addresses beyond this machine.
    #[arg(long, env = "OTARIA_ALLOW_PLAINTEXT")]
    pub(crate) allow_plaintext: bool,
    /// Once ready, print one line of JSON with the addresses.
    #[arg(long)]
    pub(crate) json: bool,
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("neither `on` nor `off`".into()),
    }
}

impl ServeArgs {
    /// The config file with the flags over it, checked.
    fn config(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        config.roles = self.role.unwrap_or(config.roles);
        config.store.url = self.store.clone().or(config.store.url);
        config.redis.url = self.redis.clone().or(config.redis.url);
        config.broker.url = self.broker.clone().or(config.broker.url);
        config.objects.url = self.objects.clone().or(config.objects.url);
        config.history.folder = self.history.clone().or(config.history.folder);
        config.master_key_file = self.master_key_file.clone().or(config.master_key_file);
        config.http.public_url = self.public_url.clone().or(config.http.public_url);
        let listeners = [
            (self.grpc, &mut config.grpc.listen),
            (self.http, &mut config.http.listen),
            (self.mqtt, &mut config.mqtt.listen),
        ];
        for (flag, listen) in listeners {
            *listen = flag.unwrap_or(*listen);
        }
        if let Some(ceiling) = self.maximum_per_minute_ceiling {
            config.limits.maximum_per_minute_ceiling = ceiling;
        }
        config.limits.api_quota = self.api_quota.unwrap_or(config.limits.api_quota);
        config.allow_plaintext |= self.allow_plaintext;
        config.check()?;
        Ok(config)
    }
}

/// Runs the server until SIGTERM or SIGINT, then ends what is under way.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = args.config()?;
    if args.check_config {
        println!("{config:#?}");
        return Ok(());
    }
    allocator::with_one_arena();
    telemetry::start_logs(&config.log)?;
    // Heard from the beginning: a signal during the start must not be lost.
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;

    let server = wiring::Server::start(config).await?;
    server.announce(args.json)?;
    tokio::select! {
        _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
        _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
        died = server.died() => anyhow::bail!("{died} ended by itself; see the log"),
    }
    server.stop().await;
    Ok(())
}
