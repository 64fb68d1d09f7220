//! Processes that this command starts: with whose rights, in which network, how long they live, where they write.
//!
//! Never ends a process that it did not start: a number alone does not name one, so the moment of its birth is
//! kept beside it.
//!
//! Invariant: a process that lives `WithUs` is gone when this command is, however it ends: dropped, by a panic,
//! by Ctrl-C, or by SIGKILL (then the kernel ends it, by the signal that `setpriv` asked for).

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

pub(crate) use rustix::process::Signal;

use crate::clock::wait_for;

/// How long a process may take to end before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(20);

/// Lines of a log that a failure shows.
const TAIL: usize = 12;

/// How long a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// As long as this command at most. Has to be started by the main thread: to the kernel, the parent that
    /// a process outlives is a thread.
    WithUs,
    /// Until it is stopped by its number.
    OnItsOwn,
}

/// What is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    /// Folder of NAME.out and NAME.log.
    logs: PathBuf,
    life: Life,
    /// Whose rights it has, when not ours.
    user: Option<String>,
    /// The network namespace it lives in, when not ours.
    namespace: Option<String>,
    /// What the kernel sends it when we are gone.
    last_word: &'static str,
}

impl Launch {
    pub(crate) fn new(name: &str, program: impl Into<PathBuf>, logs: &Path, life: Life) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            logs: logs.to_owned(),
            life,
            user: None,
            namespace: None,
            last_word: "KILL",
        }
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn user(mut self, user: Option<&str>) -> Self {
        self.user = user.map(str::to_owned);
        self
    }

    pub(crate) fn namespace(mut self, namespace: Option<&str>) -> Self {
        self.namespace = namespace.map(str::to_owned);
        self
    }

    /// The signal for when we are gone without having stopped it.
    pub(crate) const fn last_word(mut self, signal: &'static str) -> Self {
        self.last_word = signal;
        self
    }

    /// What it says on its standard output; begun anew with each start.
    pub(crate) fn out(&self) -> PathBuf {
        self.logs.join(format!("{}.out", self.name))
    }

    /// What it says on its standard error, over all starts.
    pub(crate) fn log(&self) -> PathBuf {
        self.logs.join(format!("{}.log", self.name))
    }

    /// Program and arguments, with what has to stand before them. Each of these replaces itself by the next,
    /// so that the number of the process is that of the program.
    fn line(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut say = |words: &[&str]| line.extend(words.iter().map(OsString::from));
        if self.life == Life::OnItsOwn {
            say(&["setsid"]);
        }
        if let Some(namespace) = &self.namespace {
            say(&["ip", "netns", "exec", namespace]);
        }
        let user = self.user.as_ref().map(|user| [format!("--reuid={user}"), format!("--regid={user}")]);
        if self.life == Life::WithUs || user.is_some() {
            say(&["setpriv"]);
            if let Some([user, group]) = &user {
                say(&[user, group, "--init-groups"]);
            }
            if self.life == Life::WithUs {
                say(&["--pdeathsig", self.last_word]);
            }
            say(&["--"]);
        }
        line.push(self.program.clone().into());
        line.extend(self.args.iter().cloned());
        line
    }

    /// The command, for what is run to its end.
    pub(crate) fn command(&self) -> Command {
        let mut line = self.line().into_iter();
        // There is at least the program.
        let mut command = Command::new(line.next().unwrap_or_default());
        // What our environment says about a server is not about this one.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"OTARIA_"))
        {
            command.env_remove(name);
        }
        command.args(line).envs(self.env.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// Starts it.
    pub(crate) fn start(&self) -> Result<Process> {
        std::fs::create_dir_all(&self.logs)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log())?;
        let mut command = self.command();
        // A relative path or a folder that its user may not see must not matter.
        command.current_dir("/").stdout(File::create(self.out())?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot run {}", shown(&command)))?;
        let pid = child.id();
        let Some(born) = born(pid) else { bail!("{} ended at once\n{}", self.name, tail(&self.log())) };
        Ok(Process { name: self.name.clone(), pid, born, log: self.log(), child: Some(child) })
    }

    /// Starts it and waits for the first line on its standard output.
    pub(crate) fn start_and_hear(&self, patience: Duration) -> Result<(Process, String)> {
        let mut process = self.start()?;
        let mut said = String::new();
        process.wait_ready(patience, || {
            said = std::fs::read_to_string(self.out()).unwrap_or_default();
            said.contains('\n')
        })?;
        Ok((process, said.lines().next().unwrap_or_default().to_owned()))
    }
}

/// A process that runs, or did. Dropping it kills it if it was started by this command and not left alone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// When it was born, in the kernel's ticks.
    born: u64,
    log: PathBuf,
    #[serde(skip)]
    child: Option<Child>,
}

impl Process {
    /// Whether it still runs. One that ended and was not asked for yet does not.
    pub(crate) fn is_running(&mut self) -> bool {
        match &mut self.child {
            Some(child) => matches!(child.try_wait(), Ok(None)),
            None => born(self.pid) == Some(self.born),
        }
    }

    pub(crate) fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_running(), "{} (process {}) has ended\n{}", self.name, self.pid, tail(&self.log));
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw).context("no such process")?;
        kill_process(pid, signal).with_context(|| format!("cannot signal {} ({})", self.name, self.pid))
    }

    /// Waits until it is ready; an error with the end of its log if it ends before, or takes too long.
    pub(crate) fn wait_ready(&mut self, patience: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let is_ready = wait_for(patience, PAUSE, || {
            ensure!(self.is_running(), "{} ended before it was ready\n{}", self.name, tail(&self.log));
            Ok(ready())
        })?;
        let (name, seconds) = (&self.name, patience.as_secs());
        ensure!(is_ready, "{name} was not ready within {seconds} s\n{}", tail(&self.log));
        Ok(())
    }

    /// Asks it to end by this signal, and kills it if it does not. True if it ended as asked.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<bool> {
        if !self.is_running() {
            return Ok(true);
        }
        self.signal(signal)?;
        if wait_for(END_PATIENCE, PAUSE, || Ok(!self.is_running()))? {
            return Ok(true);
        }
        self.kill()?;
        Ok(signal == Signal::KILL)
    }

    /// Ends it at once, and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if self.is_running() {
            self.signal(Signal::KILL)?;
        }
        let gone = wait_for(END_PATIENCE, PAUSE, || Ok(!self.is_running()))?;
        ensure!(gone, "{} (process {}) does not end by SIGKILL", self.name, self.pid);
        Ok(())
    }

    /// Lets it live on when this value is dropped.
    pub(crate) fn leave(&mut self) {
        self.child = None;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// When the process of this number was born; `None` if there is none, or it only waits to be buried.
fn born(pid: u32) -> Option<u64> {
    birth(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads state (the 3rd field) and birth (the 22nd). The name before them may hold anything but is in brackets.
fn birth(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Lifts the soft limit of open files to the hard one, for this process and those it starts.
pub(crate) fn lift_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Refused on systems with a ceiling of their own; then the soft limit stays, and a connection too many says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Memory of a process that is held in RAM, in KiB: now (`VmRSS`), or at most (`VmHWM`).
pub(crate) fn memory_kib(pid: u32, field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The end of a log, for an error.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n  ");
    format!("the end of {}:\n  {tail}", log.display())
}

/// Runs a command to its end and returns what it printed; an error holds its complaints.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", shown(command)))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{}{}", shown(command), output.status, said, complaint.trim_end());
    }
    Ok(said)
}

/// A command without its environment, which may hold secrets.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The place of a program on the path, or among the administrator's.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs() -> PathBuf {
        std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()))
    }

    #[test]
    fn the_birth_of_a_process_is_read_whatever_its_name_is() {
        let fields = (4..=30).map(|n| (n * 10).to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(birth(&format!("17 (a) b) S {fields}")), Some(220));
        assert_eq!(birth(&format!("17 (a) Z {fields}")), None);
        assert!(born(std::process::id()).is_some());
    }

    #[test]
    fn what_stands_before_a_program_depends_on_its_life_and_user() {
        let launch = |life| Launch::new("a", "/bin/a", &logs(), life).args(["-x"]);
        let line = |launch: &Launch| launch.line().join(OsStr::new(" ")).into_string().unwrap();
        assert_eq!(line(&launch(Life::WithUs)), "setpriv --pdeathsig KILL -- /bin/a -x");
        assert_eq!(line(&launch(Life::OnItsOwn)), "setsid /bin/a -x");
        let other = launch(Life::WithUs).user(Some("postgres")).namespace(Some("n")).last_word("INT");
        assert_eq!(
            line(&other),
            "ip netns exec n setpriv --reuid=postgres --regid=postgres --init-groups --pdeathsig INT -- /bin/a -x"
        );
    }

    #[test]
    fn a_process_is_heard_stopped_and_named_by_more_than_its_number() {
        let script = ["-c", "echo ready; sleep 60"];
        let launch = Launch::new("stopped", "/bin/sh", &logs(), Life::OnItsOwn).args(script);
        let (mut process, said) = launch.start_and_hear(Duration::from_secs(10)).unwrap();
        assert_eq!(said, "ready");
        let text = serde_json::to_string(&process).unwrap();
        let mut again: Process = serde_json::from_str(&text).unwrap();
        assert!(again.is_running());
        again.born += 1;
        assert!(!again.is_running() && again.signal(Signal::KILL).is_err());
        process.kill().unwrap();
        assert!(!process.is_running());
    }

    #[test]
    fn one_that_ends_too_soon_is_an_error_with_its_log() {
        let script = ["-c", "echo broken >&2; exit 1"];
        let launch = Launch::new("broken", "/bin/sh", &logs(), Life::OnItsOwn).args(script);
        let error = launch.start_and_hear(Duration::from_secs(10)).unwrap_err();
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
