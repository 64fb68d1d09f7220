//! A server process: started, killed, started again on the same directory and ports.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::faces::Faces;
use crate::http;

const START_PATIENCE: Duration = Duration::from_secs(60);

/// The server's own deadlines for what is under way add up to less than this.
const STOP_PATIENCE: Duration = Duration::from_secs(25);

/// The binary under test, without what the environment says about another server.
pub(crate) fn otaria() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_otaria"));
    let foreign = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b"OTARIA_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| foreign(name)) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// The addresses of the three faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) grpc: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) mqtt: SocketAddr,
}

impl Addresses {
    /// Ports that the server chooses.
    pub(crate) fn any() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { grpc: any, http: any, mqtt: any }
    }

    /// Ports that stay the same from one start to the next. They lie below those that the kernel gives to
    /// clients: a client that calls in vain must not come to sit on its server's port.
    pub(crate) fn fixed() -> Self {
        Self { grpc: free(), http: free(), mqtt: free() }
    }
}

fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 10_000).expect("below 10,000");
    loop {
        let port = 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// What the server says once it is ready.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    #[serde(flatten)]
    pub(crate) at: Addresses,
    pid: u32,
    pub(crate) access_key_file: PathBuf,
}

/// A directory, the ports, and the process that serves them, if one does. Dropping it kills the process.
pub(crate) struct Server {
    folder: TempDir,
    options: Vec<String>,
    environment: Vec<(&'static str, String)>,
    wish: Addresses,
    child: Option<Child>,
    ready: Option<Ready>,
}

impl Server {
    /// A directory that nothing serves yet.
    pub(crate) fn new(wish: Addresses, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("otaria-test-").tempdir().unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { folder, options, environment: Vec::new(), wish, child: None, ready: None }
    }

    /// A running server without quotas, on ports of its choice.
    pub(crate) async fn start() -> Self {
        Self::start_with(&["--api-quota", "off"]).await
    }

    /// A running server with these options.
    pub(crate) async fn start_with(options: &[&str]) -> Self {
        let mut server = Self::new(Addresses::any(), options);
        server.up().await;
        server
    }

    /// A running server with this config file, and without quotas.
    pub(crate) async fn start_configured(config: &str) -> Self {
        Self::start_in(&[], config).await
    }

    /// The same with these variables in its environment.
    pub(crate) async fn start_in(environment: &[(&'static str, &str)], config: &str) -> Self {
        let mut server = Self::new(Addresses::any(), &["--api-quota", "off"]);
        server.environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let file = server.folder.path().join("otaria.toml");
        std::fs::write(&file, config).unwrap();
        server.options.extend(["--config".to_owned(), file.display().to_string()]);
        server.up().await;
        server
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    /// Begins a start, and does not wait for it.
    pub(crate) fn launch(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let Addresses { grpc, http, mqtt } = self.wish;
        let child = otaria()
            .args(["serve", "--json", "--data-dir"])
            .arg(self.data_dir())
            .args(["--grpc", &grpc.to_string(), "--http", &http.to_string(), "--mqtt", &mqtt.to_string()])
            .args(&self.options)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("RUST_BACKTRACE", "1")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn up(&mut self) {
        self.launch();
        let stdout = self.child.as_mut().and_then(|child| child.stdout.take()).unwrap();
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(START_PATIENCE, lines.next_line()).await;
        let Ok(Ok(Some(line))) = first else { panic!("the server is not ready: {first:?}\n{}", self.tail()) };
        let ready: Ready = serde_json::from_str(&line).unwrap();
        assert_eq!(Some(ready.pid), self.child.as_ref().and_then(Child::id));
        self.ready = Some(ready);
        // A full pipe must never stop the server.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    }

    /// `kill -9`, and waits until the process is gone.
    pub(crate) async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().await.unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        match timeout(STOP_PATIENCE, child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("the server does not stop on SIGTERM\n{}", self.tail()),
        }
    }

    pub(crate) fn ready(&self) -> &Ready {
        self.ready.as_ref().expect("it was ready once")
    }

    pub(crate) fn at(&self) -> Addresses {
        self.ready().at
    }

    /// Id and secret of the key that the first start made.
    pub(crate) fn admin_key(&self) -> [String; 2] {
        let text = std::fs::read_to_string(&self.ready().access_key_file).unwrap();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.expect("a key file of two lines").to_owned()
        };
        [value("id"), value("secret")]
    }

    /// The gRPC face, with the admin key.
    pub(crate) fn faces(&self) -> Faces {
        Faces::new(self.at().grpc, &self.admin_key())
    }

    /// Fails unless the process runs and says that it is ready.
    pub(crate) async fn assert_healthy(&mut self) {
        let ended = self.child.as_mut().expect("it runs").try_wait().unwrap();
        assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.tail());
        assert_eq!(http::get(self.at().http, "/readyz").await.status, 200, "{}", self.tail());
        self.assert_no_panic();
    }

    /// Fails if any start of the server has panicked.
    pub(crate) fn assert_no_panic(&self) {
        let log = read(&self.log());
        let panic = log.lines().position(|line| line.contains("panicked"));
        if let Some(place) = panic {
            let around: Vec<&str> = log.lines().skip(place.saturating_sub(3)).take(40).collect();
            panic!("the server panicked:\n{}", around.join("\n"));
        }
    }

    /// Lines of the log at WARN and ERROR.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let is_one = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        read(&self.log()).lines().filter(is_one).map(str::to_owned).collect()
    }

    /// The end of the log.
    pub(crate) fn tail(&self) -> String {
        let log = read(&self.log());
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Runs the binary as an operator of this server does, and gives back its output.
    pub(crate) async fn cli(&self, args: &[&str]) -> serde_json::Value {
        let mut command = otaria();
        command.args(args).args(["--json", "--endpoint", &format!("http://{}", self.at().grpc)]);
        let output = command.arg("--data-dir").arg(self.data_dir()).output().await.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the server's directory is kept: {}", self.folder.path().display());
        }
    }
}

/// How a process ended, and what it said.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) async fn run(command: &mut Command, patience: Duration) -> Ended {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let all = async {
        let read = tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr));
        read.0.and(read.1).and(child.wait().await)
    };
    let status = timeout(patience, all).await;
    match status {
        Ok(status) => Ended { status: status.unwrap(), stdout, stderr },
        Err(_) => panic!("it does not end within {patience:?}: {stdout}\n{stderr}"),
    }
}

fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(path) {
        std::io::Read::read_to_end(&mut file, &mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
