//! The load: users that call the API as dashboards and scripts do. Mostly they look; now and then one makes a job
//! for a few devices, or cancels one of its own.
//!
//! Invariant: an answer counts as good only if it tells what was asked for. A broken rule is an HTTP 200 on this
//! wire, so the status alone says nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use goose::prelude::*;
use serde_json::Value;

use crate::sign::{Params, Style, sign};
use crate::things::{Things, params};

/// Between two calls of a user.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(300));
/// Devices of a job.
const JOB_DEVICES: usize = 5;
const PER_MINUTE: usize = 600;
/// Jobs of its own that a user asks for.
const REMEMBERED: usize = 20;
/// Rows of a page.
const PAGE: &str = "50";

/// What a user knows.
struct Memory {
    host: String,
    /// Its own jobs, oldest first.
    jobs: VecDeque<String>,
    dice: Dice,
}

/// A row of the mix.
struct Action {
    name: &'static str,
    /// Calls of a hundred.
    share: usize,
    /// Nothing if this user cannot ask for it now.
    params: fn(&Things, &mut Memory) -> Option<Params>,
    /// Whether the answer tells what was asked for.
    tells: fn(&Value, &Params) -> bool,
}

static MIX: [Action; 8] = [
    CREATE,
    Action {
        name: "QueryOTAJob",
        share: 30,
        params: |_, memory| Some(params(&[("JobId", &memory.a_job()?)])),
        tells: |body, asked| body["Data"]["JobId"] == *of(asked, "JobId"),
    },
    Action {
        name: "ListOTATaskByJob",
        share: 20,
        params: |_, memory| {
            Some(params(&[("JobId", &memory.a_job()?), ("CurrentPage", "1"), ("PageSize", PAGE)]))
        },
        tells: |body, asked| rows(body, "SimpleOTATaskInfo", "JobId", of(asked, "JobId")),
    },
    Action {
        name: "QueryDeviceDetail",
        share: 16,
        params: |things, memory| {
            Some(params(&[
                ("ProductKey", &things.product),
                ("DeviceName", memory.dice.one(&things.devices)?),
            ]))
        },
        tells: |body, asked| body["Data"]["DeviceName"] == *of(asked, "DeviceName"),
    },
    Action {
        name: "ListOTAJobByFirmware",
        share: 12,
        params: |things, memory| {
            let firmware = memory.dice.one(&things.firmware)?;
            Some(params(&[("FirmwareId", firmware), ("CurrentPage", "1"), ("PageSize", PAGE)]))
        },
        tells: |body, asked| rows(body, "SimpleOTAJobInfo", "FirmwareId", of(asked, "FirmwareId")),
    },
    Action {
        name: "ListOTAUnfinishedTaskByDevice",
        share: 6,
        params: |things, memory| {
            Some(params(&[
                ("ProductKey", &things.product),
                ("DeviceName", memory.dice.one(&things.devices)?),
            ]))
        },
        tells: |body, asked| rows(body, "SimpleOTATaskInfo", "DeviceName", of(asked, "DeviceName")),
    },
    Action {
        name: "QueryOTAFirmware",
        share: 6,
        params: |things, memory| Some(params(&[("FirmwareId", memory.dice.one(&things.firmware)?)])),
        tells: |body, asked| body["FirmwareInfo"]["FirmwareId"] == *of(asked, "FirmwareId"),
    },
    Action {
        name: "CancelOTATaskByJob",
        share: 4,
        params: |_, memory| {
            let job = memory.jobs.pop_front()?;
            let all = ["CancelQueuedTask", "CancelNotifiedTask", "CancelInProgressTask"];
            Some([params(&[("JobId", &job)]), params(&all.map(|flag| (flag, "true")))].concat())
        },
        tells: |_, _| true,
    },
];

const CREATE: Action = Action {
    name: "CreateOTAStaticUpgradeJob",
    share: 6,
    params: |things, memory| {
        let firmware = memory.dice.one(&things.firmware)?;
        let first = memory.dice.below(things.devices.len());
        let count = JOB_DEVICES.min(things.devices.len());
        let names = things.devices.iter().cycle().skip(first).take(count);
        Some(things.job(firmware, PER_MINUTE, names))
    },
    tells: |body, _| body["Data"]["JobId"].is_string(),
};

/// The scenario of the whole mix.
pub(crate) fn scenario(things: &Arc<Things>) -> Result<Scenario, GooseError> {
    let shared = Arc::clone(things);
    let arrive = Transaction::new(Arc::new(move |user: &mut GooseUser| {
        let things = Arc::clone(&shared);
        Box::pin(async move { arrive(user, &things) })
    }));
    let shared = Arc::clone(things);
    // One transaction draws among all: goose takes its transactions in turns, and a short test would do the rare
    // things as often as the others.
    let call = Transaction::new(Arc::new(move |user: &mut GooseUser| {
        let things = Arc::clone(&shared);
        Box::pin(async move { call(user, &things).await })
    }));
    Ok(scenario!("calls")
        .set_wait_time(PAUSE.0, PAUSE.1)?
        .register_transaction(arrive.set_name("arrive").set_on_start())
        .register_transaction(call.set_name("call")))
}

/// Users spread over the hosts, and stay.
fn arrive(user: &mut GooseUser, things: &Things) -> TransactionResult {
    let host = &things.hosts[user.weighted_users_index % things.hosts.len()];
    user.set_base_url(&format!("http://{host}"))?;
    let dice = Dice(user.weighted_users_index as u64);
    user.set_session_data(Memory { host: host.clone(), jobs: VecDeque::new(), dice });
    Ok(())
}

async fn call(user: &mut GooseUser, things: &Things) -> TransactionResult {
    let Some(memory) = user.get_session_data_mut::<Memory>() else { return Ok(()) };
    let drawn = drawn(&mut memory.dice);
    // Who has no job to look at, or to cancel, makes one.
    let asked = (drawn.params)(things, memory).map(|asked| (drawn, asked));
    let Some((action, asked)) = asked.or_else(|| Some((&MIX[0], (CREATE.params)(things, memory)?))) else {
        return Ok(());
    };
    // As of callers: two of three have the newer SDK.
    let style = if memory.dice.below(3) == 0 { Style::Rpc } else { Style::V3 };
    let signed = sign(style, &things.key, &memory.host, action.name, &asked);

    let path = if signed.query.is_empty() { "/".to_owned() } else { format!("/?{}", signed.query) };
    let mut builder = user.get_request_builder(&GooseMethod::Post, &path)?.body(signed.body);
    for (name, value) in signed.headers {
        builder = builder.header(name, value);
    }
    let request = GooseRequest::builder().set_request_builder(builder).name(action.name).build();
    let answer = user.request(request).await?;

    let mut told = answer.request;
    let text = match answer.response {
        Ok(response) => response.text().await.unwrap_or_default(),
        // Counted as a failure already.
        Err(_) => return Ok(()),
    };
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    if body["Success"] != true || !(action.tells)(&body, &asked) {
        let why = format!("{}: {}", action.name, body["Code"].as_str().unwrap_or("not what was asked for"));
        return user.set_failure(&why, &mut told, None, Some(&text));
    }
    if let (true, Some(job)) = (action.name == CREATE.name, body["Data"]["JobId"].as_str())
        && let Some(memory) = user.get_session_data_mut::<Memory>()
    {
        memory.jobs.push_back(job.to_owned());
        if memory.jobs.len() > REMEMBERED {
            memory.jobs.pop_front();
        }
    }
    Ok(())
}

fn drawn(dice: &mut Dice) -> &'static Action {
    let mut left = dice.below(MIX.iter().map(|action| action.share).sum());
    let found = MIX.iter().find(|action| match left.checked_sub(action.share) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    found.unwrap_or(&MIX[0])
}

impl Memory {
    fn a_job(&mut self) -> Option<String> {
        let place = self.dice.below(self.jobs.len());
        self.jobs.get(place).cloned()
    }
}

/// Numbers that look drawn, and are the same in each run.
struct Dice(u64);

impl Dice {
    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33;
        usize::try_from(mixed).unwrap_or_default().checked_rem(end).unwrap_or_default()
    }

    fn one<'a>(&mut self, of: &'a [String]) -> Option<&'a String> {
        of.get(self.below(of.len()))
    }
}

/// The value of a parameter.
fn of<'a>(asked: &'a Params, name: &str) -> &'a str {
    asked.iter().find(|(other, _)| other == name).map_or("", |(_, value)| value)
}

/// Whether there is a list of this name, and all its rows have this value in this field.
fn rows(body: &Value, list: &str, field: &str, value: &str) -> bool {
    body["Data"][list].as_array().is_some_and(|rows| rows.iter().all(|row| row[field] == *value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_shares_are_of_a_hundred_and_drawn_as_often() {
        assert_eq!(MIX.iter().map(|action| action.share).sum::<usize>(), 100);
        let mut dice = Dice(3);
        let mut seen = BTreeMap::new();
        (0..10_000).for_each(|_| *seen.entry(drawn(&mut dice).name).or_insert(0_usize) += 1);
        for action in &MIX {
            let wanted = action.share * 100;
            assert!(seen[action.name].abs_diff(wanted) < wanted / 5 + 20, "{seen:?}");
        }
    }

    #[test]
    fn dice_reach_every_number_and_no_other() {
        let mut dice = Dice(1);
        let mut seen = [0; 7];
        (0..7_000).for_each(|_| seen[dice.below(7)] += 1);
        assert!(seen.iter().all(|times| (800..1_200).contains(times)), "{seen:?}");
        assert_eq!(dice.below(0), 0);
    }

    #[test]
    fn rows_of_something_else_are_noticed() {
        let body = |job: &str| serde_json::json!({"Data": {"SimpleOTATaskInfo": [{"JobId": job}]}});
        assert!(rows(&body("a"), "SimpleOTATaskInfo", "JobId", "a"));
        assert!(!rows(&body("b"), "SimpleOTATaskInfo", "JobId", "a"));
        assert!(!rows(&Value::Null, "SimpleOTATaskInfo", "JobId", "a"));
    }
}
