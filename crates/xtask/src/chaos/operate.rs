//! An operator at work: makes a job when its time comes, and does with it what the plan says, whatever happens to
//! the servers meanwhile.
//!
//! It does as the documentation asks of clients: what may be tried again is tried again at another replica.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::job::{Errand, Kind};
use super::world::Ware;
use crate::clock::{now, unix_us};
use crate::cluster::{Operator, Refusal, text};

/// How long a call is tried again before it has failed: longer than any fault, and the recovery from it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call that was not answered has been decided after this time: no server stands still for longer.
const UNHEARD: Duration = Duration::from_secs(15);

/// Names that the API takes in one call.
const NAMES_MAX: usize = 200;

const PAUSE: Duration = Duration::from_millis(250);

/// How the API says that a job is in no state for an order any more.
const TOO_LATE: &str = "JobStatusNotAllowed";

/// Minutes from a notice, and from the first progress, to a failure.
pub(super) const OFFER_MINUTES: u64 = 2;
pub(super) const TIMEOUT_MINUTES: u64 = 1;

/// Offers after the first, where failures are tried again.
pub(super) const RETRIES: u64 = 2;

/// Who is called.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) operator: Operator,
    pub(super) grpc: Vec<String>,
    pub(super) product_key: String,
    /// The beginning of the run.
    pub(super) begun: Instant,
}

/// What became of a job, as its operator knows it.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) errand: Errand,
    pub(super) ware: Ware,
    /// `None` if it could not be made.
    pub(super) job: Option<String>,
    /// When the cancellation of the whole job was answered, in Unix microseconds.
    pub(super) cancelled_us: Option<u64>,
    /// When a pause was answered, and when its end was asked for.
    pub(super) paused_us: Option<(u64, u64)>,
    /// Calls that were tried again.
    pub(super) retried: u64,
    /// Whatever went wrong.
    pub(super) troubles: Vec<String>,
}

impl Desk {
    /// Carries out an errand from its beginning; returns when the rest is up to the servers.
    pub(super) fn carry_out(&self, errand: &Errand, ware: &Ware) -> Story {
        let mut story = Story {
            errand: errand.clone(),
            ware: ware.clone(),
            job: None,
            cancelled_us: None,
            paused_us: None,
            retried: 0,
            troubles: Vec::new(),
        };
        if let Err(error) = self.work(&mut story) {
            story.troubles.push(format!("{error:#}"));
        }
        story
    }

    fn work(&self, story: &mut Story) -> Result<()> {
        let errand = story.errand.clone();
        self.sleep_until(errand.at);
        let args = create(&errand, &story.ware, &self.product_key);
        let job = if is_by_list(&errand, &story.ware) {
            self.make_by_list(&args, &story.ware.firmware, &mut story.retried)?
        } else {
            text(&self.insist(&args, &mut story.retried)?, "job_id")?
        };
        story.job = Some(job.clone());
        self.sleep_until(errand.at + errand.then);
        let order = |args: &[&str], retried: &mut u64| self.order(&words(args), retried);
        let retried = &mut story.retried;
        match errand.kind {
            Kind::Plain | Kind::Retry | Kind::Replace | Kind::Keep | Kind::Gray => {}
            Kind::Cancel => {
                if order(&["job", "cancel", &job], retried)? {
                    story.cancelled_us = Some(unix_us());
                }
            }
            Kind::CancelQueued => {
                order(&["job", "cancel", &job, "--queued"], retried)?;
            }
            Kind::Pause => {
                if order(&["job", "pause", &job], retried)? {
                    let from = unix_us();
                    std::thread::sleep(errand.pause);
                    let to = unix_us();
                    order(&["job", "resume", &job], retried)?;
                    story.paused_us = Some((from, to));
                }
            }
            Kind::Confirm => {
                order(&["job", "confirm", &job], retried)?;
            }
            Kind::Reupgrade => {
                order(&["job", "reupgrade", &job, "--status", "failed"], retried)?;
            }
            Kind::Dynamic => {
                order(&["job", "cancel-strategy", &job], retried)?;
            }
            Kind::Pace => {
                let limit = errand.other_limit.to_string();
                order(&["job", "update", &job, "--maximum-per-minute", &limit], retried)?;
            }
        }
        Ok(())
    }

    /// Does something with a job. False if the job was over before.
    fn order(&self, args: &[String], retried: &mut u64) -> Result<bool> {
        match self.insist(args, retried) {
            Err(error) if error.to_string().contains(TOO_LATE) => Ok(false),
            done => done.map(|_| true),
        }
    }

    fn sleep_until(&self, at: Duration) {
        std::thread::sleep(at.saturating_sub(self.begun.elapsed()));
    }

    /// Makes a job of a list that is uploaded with each try, so that no token can stand for it: after a try
    /// without an answer the jobs of the package tell what became of it.
    fn make_by_list(&self, args: &[String], firmware: &str, retried: &mut u64) -> Result<String> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let since = now();
        for grpc in self.grpc.iter().cycle() {
            match self.operator.ask(grpc, &args) {
                Ok(answers) => return text(answers.last().unwrap_or(&Value::Null), "job_id"),
                Err(Refusal::Final(why)) => bail!("otaria {}: {why}", shown(&args)),
                Err(Refusal::Retryable(why)) if since.elapsed() > PATIENCE => {
                    bail!("no list was taken: {why}")
                }
                Err(Refusal::Retryable(_)) => {}
            }
            *retried += 1;
            std::thread::sleep(UNHEARD);
            let jobs = self.insist_on_all(&words(&["job", "list", "--firmware", firmware]), retried)?;
            if let Some(job) = jobs.first() {
                return text(job, "job_id");
            }
        }
        bail!("there is no server to call")
    }

    /// The one object of the answer of the first replica that gives one.
    pub(super) fn insist(&self, args: &[String], retried: &mut u64) -> Result<Value> {
        let mut answers = self.insist_on_all(args, retried)?;
        Ok(answers.pop().unwrap_or(Value::Null))
    }

    /// All objects of the answer.
    pub(super) fn insist_on_all(&self, args: &[String], retried: &mut u64) -> Result<Vec<Value>> {
        let since = now();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let shown = shown(&args);
        let mut last = anyhow!("there is no server to call");
        while since.elapsed() < PATIENCE {
            for grpc in &self.grpc {
                match self.operator.ask(grpc, &args) {
                    Ok(answers) => return Ok(answers),
                    Err(Refusal::Final(why)) => bail!("otaria {shown}: {why}"),
                    Err(Refusal::Retryable(why)) => last = anyhow!("{why}"),
                }
                *retried += 1;
            }
            std::thread::sleep(PAUSE);
        }
        Err(last.context(format!("otaria {shown}: no replica answered within {} s", PATIENCE.as_secs())))
    }
}

/// The beginning of a call, without its two hundred names.
fn shown(args: &[&str]) -> String {
    args.iter().take(6).copied().collect::<Vec<_>>().join(" ")
}

/// Whether the devices are named in a file; names in the call are limited.
fn is_by_list(errand: &Errand, ware: &Ware) -> bool {
    let named = !matches!(errand.kind, Kind::Gray | Kind::Dynamic);
    named && (errand.number.is_multiple_of(3) || ware.names.len() > NAMES_MAX)
}

pub(super) fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// The call that makes a job.
fn create(errand: &Errand, ware: &Ware, product_key: &str) -> Vec<String> {
    let dynamic = errand.kind == Kind::Dynamic;
    let mut args = words(&["job", if dynamic { "create-dynamic" } else { "create" }]);
    let mut say = |more: &[&str]| args.extend(words(more));
    say(&["--firmware", &ware.firmware, "--product", product_key]);
    say(&["--maximum-per-minute", &errand.limit.to_string()]);
    say(&["--offer-timeout", &OFFER_MINUTES.to_string(), "--timeout", &TIMEOUT_MINUTES.to_string()]);
    match errand.kind {
        Kind::Gray => say(&["--gray", &errand.percent.to_string()]),
        Kind::Dynamic => say(&["--group", &ware.group]),
        Kind::Plain
        | Kind::Retry
        | Kind::Replace
        | Kind::Keep
        | Kind::Cancel
        | Kind::CancelQueued
        | Kind::Pause
        | Kind::Confirm
        | Kind::Reupgrade
        | Kind::Pace => {
            if is_by_list(errand, ware) {
                say(&["--list-file", &ware.list.display().to_string()]);
            } else {
                let names: Vec<&str> = ware.names.iter().map(String::as_str).collect();
                say(&names);
            }
        }
    }
    if !is_by_list(errand, ware) {
        // The same call, repeated, makes no second job.
        say(&["--client-token", &format!("{}-{}", errand.world.name(), errand.number)]);
    }
    if errand.kind == Kind::Retry {
        say(&["--retry-interval", "0", "--retry-count", &RETRIES.to_string()]);
    }
    if errand.kind == Kind::Replace {
        say(&["--overwrite-mode", "replace"]);
    }
    if errand.kind == Kind::Confirm {
        say(&["--need-confirm"]);
    }
    if errand.over_mqtt {
        say(&["--download-protocol", "mqtt"]);
    }
    args
}
