//! Calls of the server as an operator makes them, by the command line of the product.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process::shown;

/// Says that the call may be tried again: the server was not there, or said UNAVAILABLE.
const RETRYABLE: &[&str] = &["cannot reach a server", "It is safe to try again", "try again in"];

/// Who calls, and from where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Operator {
    pub(crate) binary: PathBuf,
    pub(crate) key_id: String,
    pub(crate) key_secret: String,
    /// The network namespace to call from, when not ours.
    pub(crate) namespace: Option<String>,
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another replica, or the same a little later, may answer.
    Retryable(String),
    Final(String),
}

impl Operator {
    /// A command of the product, in the right network and without what our environment says about others.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.as_encoded_bytes().starts_with(b"OTARIA_")) {
            command.env_remove(name);
        }
        command
            .env("OTARIA_ACCESS_KEY_ID", &self.key_id)
            .env("OTARIA_ACCESS_KEY_SECRET", &self.key_secret)
            .stdin(Stdio::null());
        command
    }

    /// Calls the server at this gRPC address, and returns what it answers, an object a line.
    pub(crate) fn ask(&self, grpc: &str, args: &[&str]) -> Result<Vec<Value>, Refusal> {
        let mut command = self.command();
        command.args(args).args(["--json", "--endpoint"]).arg(format!("http://{grpc}"));
        let output =
            command.output().map_err(|error| Refusal::Final(format!("{}: {error}", shown(&command))))?;
        if !output.status.success() {
            return Err(refusal(&String::from_utf8_lossy(&output.stderr)));
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let lines = said.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .map_err(|error| Refusal::Final(format!("{args:?}: {error} in {said}")))
    }

    /// Runs a command for what it does; what it says is for people.
    pub(crate) fn run(&self, grpc: &str, args: &[&str]) -> Result<()> {
        let mut command = self.command();
        crate::process::run(command.args(args).arg("--endpoint").arg(format!("http://{grpc}"))).map(drop)
    }

    /// [`Self::ask`] where no refusal is expected; the one object of the answer.
    pub(crate) fn call(&self, grpc: &str, args: &[&str]) -> Result<Value> {
        match self.ask(grpc, args) {
            Ok(mut answers) => answers.pop().with_context(|| format!("otaria {args:?} said nothing")),
            Err(Refusal::Retryable(why) | Refusal::Final(why)) => bail!("otaria {}: {why}", args.join(" ")),
        }
    }

    /// Calls one replica after the other, over and over, until one answers.
    pub(crate) fn insist(&self, replicas: &[String], args: &[&str], rounds: u32) -> Result<Value> {
        let mut last = anyhow!("there is no server to call");
        for _ in 0..rounds {
            for grpc in replicas {
                match self.ask(grpc, args) {
                    Ok(mut answers) => {
                        return answers.pop().with_context(|| format!("{args:?} said nothing"));
                    }
                    Err(Refusal::Final(why)) => bail!("otaria {}: {why}", args.join(" ")),
                    Err(Refusal::Retryable(why)) => last = anyhow!("otaria {}: {why}", args.join(" ")),
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        Err(last)
    }
}

fn refusal(complaint: &str) -> Refusal {
    let complaint = complaint.trim().to_owned();
    if RETRYABLE.iter().any(|sign| complaint.contains(sign)) {
        Refusal::Retryable(complaint)
    } else {
        Refusal::Final(complaint)
    }
}

/// A text in an answer.
pub(crate) fn text(answer: &Value, field: &str) -> Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("no {field} in {answer}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_was_not_there_may_be_asked_again() {
        let gone = "otaria: cannot reach a server at http://127.0.0.1:1: Connection refused";
        assert!(matches!(refusal(gone), Refusal::Retryable(_)));
        let away = "otaria: the server went away: is it still running? It is safe to try again";
        assert!(matches!(refusal(away), Refusal::Retryable(_)));
        let full =
            "otaria: temporarily unavailable; repeat the call (ServiceUnavailable)\n  try again in 1.0 s";
        assert!(matches!(refusal(full), Refusal::Retryable(_)));
        assert!(matches!(refusal("otaria: the server failed, not the request"), Refusal::Final(_)));
        assert!(matches!(refusal(""), Refusal::Final(_)));
    }
}
