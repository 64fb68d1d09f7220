//! What needs a server: each test has names of its own on the shared one, or a server of its own.

mod bus;
mod clock;
mod cluster;
mod contract;
mod events;
mod lease;
mod link;
mod notices;
mod pace;
mod presence;
mod quotas;
mod sentinel;

use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use otaria_ports::ids::Ids;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::{RedisConfig, RedisLink};

/// The system's chance.
struct Chance;

impl Ids for Chance {
    fn fill(&self, bytes: &mut [u8]) {
        std::fs::File::open("/dev/urandom").unwrap().read_exact(bytes).unwrap();
    }
}

fn url() -> String {
    std::env::var("OTARIA_TEST_REDIS").expect("OTARIA_TEST_REDIS names a Redis for tests")
}

/// Names on the shared server that nobody else has.
fn config() -> RedisConfig {
    config_at(&url())
}

fn config_at(url: &str) -> RedisConfig {
    RedisConfig { prefix: format!("test-{}", Chance.text(12)), ..RedisConfig::new(url) }
}

/// Another process under the same names.
async fn process(config: &RedisConfig) -> RedisLink {
    RedisLink::open(config, Arc::new(Chance)).await.unwrap()
}

/// Waits until something holds; panics after `most`.
async fn until<F: Future<Output = bool>>(most: Duration, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + most;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not come true within {most:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A port that nobody listens on. Nodes of a cluster also take the one 10,000 above.
fn free_port() -> u16 {
    let any = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    std::iter::repeat_with(any).find(|port| *port < 55_000).unwrap()
}

/// A server of one's own; it ends with the value.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    args: Vec<String>,
    child: Option<Child>,
}

impl Server {
    async fn start(args: &[&str]) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port: free_port(), args, child: None };
        // Somebody else may have taken the port meanwhile, or the one 10,000 above it.
        for _ in 0..5 {
            if server.comes_up().await {
                return server;
            }
            server.port = free_port();
        }
        panic!("redis-server found no port");
    }

    /// A sentinel that watches a server under the name `it`, and decides alone.
    async fn sentinel(leader: &Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        let watched = format!("sentinel monitor it 127.0.0.1 {} 1", leader.port);
        let times = "sentinel down-after-milliseconds it 500\nsentinel failover-timeout it 5000";
        std::fs::write(&file, format!("{watched}\n{times}\n")).unwrap();
        let port = free_port();
        let mut command = Command::new("redis-server");
        command.arg(&file).args(["--sentinel", "--port", &port.to_string()]).current_dir(folder.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        let address = ("127.0.0.1", port);
        let listens = || async move { tokio::net::TcpStream::connect(address).await.is_ok() };
        until(Duration::from_mins(1), listens).await;
        Self { folder, port, args: Vec::new(), child: Some(child) }
    }

    /// Starts it again, on whatever files are there.
    async fn run(&mut self) {
        assert!(self.comes_up().await, "redis-server ended");
    }

    /// Starts it; `false` when it ended instead of listening.
    async fn comes_up(&mut self) -> bool {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.folder.path()).args(&self.args);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let child = self.child.insert(child.expect("redis-server is in the path"));
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "redis-server does not listen");
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Kills it at once.
    async fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().await.unwrap();
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command as an operator would.
    async fn cli(&self, args: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(args).output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}
