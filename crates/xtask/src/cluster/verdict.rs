//! Whether a scenario went as promised, judged by what the devices wrote down.
//!
//! What the server says is only compared with it: it has to know as many updated devices.

use std::collections::BTreeSet;

use serde::Serialize;

use super::pace::{MINUTE_US, longest_pause, max_in_any, resumed_after, seconds, span_seconds, used_percent};
use super::record::Record;
use super::scenario::Scenario;

/// What is known about a run besides the devices' record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) seed: u64,
    /// All devices of the job.
    pub(crate) devices: BTreeSet<String>,
    pub(crate) version: String,
    pub(crate) limit: u32,
    /// When the fault fell. `None` if there was none.
    pub(crate) fault_us: Option<u64>,
    /// The devices of the dispatcher that the fault hit, where that is known.
    pub(crate) orphans: Option<BTreeSet<String>>,
    /// How many tasks the server says have succeeded at the end.
    pub(crate) succeeded: Option<u64>,
    /// Whatever else went wrong.
    pub(crate) troubles: Vec<String>,
    /// Calls of the API that were answered, and that were tried again, where clients called.
    pub(crate) calls: Option<Calls>,
}

/// How the clients of a rolling restart fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Calls {
    pub(crate) answered: u64,
    /// Answers that say to try again, and refused connections; each such call was then answered by another replica.
    pub(crate) retried: u64,
    pub(crate) failed: u64,
}

/// The verdict on a scenario, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    pub(crate) devices: usize,
    /// Notices that reached devices, repeats included.
    pub(crate) notices: usize,
    pub(crate) push_seconds: f64,
    pub(crate) max_in_any_60s: usize,
    pub(crate) limit: u32,
    pub(crate) used_percent: f64,
    /// Devices that no notice reached.
    pub(crate) lost: usize,
    /// From the fault until the devices of the dispatcher that it hit were told again; where they are not known,
    /// the longest pause in all pushes after the fault.
    pub(crate) resume_seconds: Option<f64>,
    /// The longest pause in all pushes after the fault.
    pub(crate) longest_pause_seconds: Option<f64>,
    pub(crate) fault_after_seconds: Option<f64>,
    /// Notices that reached a device which had the same one before.
    pub(crate) repeated: usize,
    pub(crate) updated: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calls: Option<Calls>,
    pub(crate) seed: u64,
    /// Why it is not ok.
    pub(crate) why: Vec<String>,
}

impl Verdict {
    pub(crate) fn of(scenario: Scenario, story: &Story, record: &Record) -> Self {
        let pushes = record.pushes(&story.version);
        let times: Vec<u64> = pushes.iter().map(|push| push.unix_us).collect();
        let told: BTreeSet<&str> = pushes.iter().map(|push| push.device).collect();
        let lost = story.devices.iter().filter(|device| !told.contains(device.as_str())).count();
        let orphan_times = story.orphans.as_ref().map(|orphans| -> Vec<u64> {
            pushes.iter().filter(|push| orphans.contains(push.device)).map(|push| push.unix_us).collect()
        });
        let resume_seconds = story.fault_us.and_then(|fault| {
            let of_orphans = orphan_times.and_then(|times| resumed_after(&times, fault));
            of_orphans.or_else(|| longest_pause(&times, fault))
        });
        let since_first = |fault: u64| times.first().map(|first| seconds(fault.saturating_sub(*first)));
        let mut verdict = Self {
            ok: false,
            devices: story.devices.len(),
            notices: times.len(),
            push_seconds: rounded(span_seconds(&times)),
            max_in_any_60s: max_in_any(&times, MINUTE_US),
            limit: story.limit,
            used_percent: rounded(used_percent(&times, story.limit)),
            lost,
            resume_seconds: resume_seconds.map(rounded),
            longest_pause_seconds: story.fault_us.and_then(|fault| longest_pause(&times, fault)).map(rounded),
            fault_after_seconds: story.fault_us.and_then(since_first).map(rounded),
            repeated: pushes.len()
                - pushes.iter().map(|push| (push.device, push.id)).collect::<BTreeSet<_>>().len(),
            updated: record.updated(&story.version).len(),
            calls: story.calls,
            seed: story.seed,
            why: story.troubles.clone(),
        };
        verdict.judge(scenario, story, &told);
        verdict
    }

    fn judge(&mut self, scenario: Scenario, story: &Story, told: &BTreeSet<&str>) {
        let mut why = Vec::new();
        if self.max_in_any_60s > usize::try_from(self.limit).unwrap_or(usize::MAX) {
            why.push(format!(
                "{} pushes in one window of 60 s, {} are allowed",
                self.max_in_any_60s, self.limit
            ));
        }
        if self.lost > 0 {
            why.push(format!("{} devices were never told", self.lost));
        }
        let strangers = told.iter().filter(|device| !story.devices.contains(**device)).count();
        if strangers > 0 {
            why.push(format!("{strangers} devices were told that are not in the job"));
        }
        if let Some(least) = scenario.used_percent_min().filter(|least| self.used_percent < *least) {
            why.push(format!("{} % of the limit were used, less than {least} %", self.used_percent));
        }
        if scenario != Scenario::Baseline && story.fault_us.is_none() {
            why.push("the fault did not fall into the work".to_owned());
        }
        if let Some(most) = scenario.resume_seconds_max() {
            match self.resume_seconds {
                Some(resumed) if resumed <= most => {}
                Some(resumed) => why.push(format!("pushes resumed after {resumed} s, more than {most} s")),
                None => why.push("no push came after the fault".to_owned()),
            }
        }
        let devices = u64::try_from(self.devices).unwrap_or(u64::MAX);
        if story.succeeded != Some(devices) {
            let says = story.succeeded.map_or("nothing".to_owned(), |count| count.to_string());
            why.push(format!("{} devices updated; the server says {says} of {devices} did", self.updated));
        }
        if let Some(calls) = self.calls {
            if calls.failed > 0 {
                why.push(format!("{} calls of the API failed", calls.failed));
            }
            if calls.answered == 0 {
                why.push("no call of the API was answered".to_owned());
            }
        }
        self.why.extend(why);
        self.ok = self.why.is_empty();
    }
}

/// To the millisecond, or the thousandth of a percent.
fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of `devices` that were told `step_us` apart, as the fleets write it.
    fn record(name: &str, devices: u64, step_us: u64, pause_us: u64) -> Record {
        let mut text = "unix_us,device,event,what,id\n".to_owned();
        for n in 0..devices {
            let at = 1_000_000 + n * step_us + if n * 2 >= devices { pause_us } else { 0 };
            text += &format!("{at},d{n},notice,2.0.0,{n}\n{at},d{n},inform,2.0.0,\n");
        }
        let file = std::env::temp_dir().join(format!("xtask-verdict-{name}-{}", std::process::id()));
        std::fs::write(&file, text).unwrap();
        let record = Record::read(std::slice::from_ref(&file)).unwrap();
        std::fs::remove_file(file).unwrap();
        record
    }

    fn story(devices: u64) -> Story {
        Story {
            devices: (0..devices).map(|n| format!("d{n}")).collect(),
            version: "2.0.0".to_owned(),
            limit: 60,
            succeeded: Some(devices),
            ..Story::default()
        }
    }

    #[test]
    fn a_steady_pace_is_fine_and_one_notice_too_many_is_not() {
        let fine = Verdict::of(Scenario::Baseline, &story(120), &record("fine", 120, 1_000_000, 0));
        assert!(fine.ok, "{:?}", fine.why);
        assert_eq!((fine.max_in_any_60s, fine.lost, fine.notices), (60, 0, 120));
        assert!((fine.used_percent - 100.0).abs() < 1e-9);
        let fast = Verdict::of(Scenario::Baseline, &story(120), &record("fast", 120, 980_000, 0));
        assert_eq!((fast.ok, fast.max_in_any_60s), (false, 62));
        let burst = Verdict::of(Scenario::Baseline, &story(120), &record("burst", 120, 10, 0));
        assert_eq!((burst.ok, burst.max_in_any_60s), (false, 120));
    }

    #[test]
    fn a_device_that_was_never_told_is_lost() {
        let verdict = Verdict::of(Scenario::Baseline, &story(121), &record("lost", 120, 1_000_000, 0));
        assert_eq!((verdict.ok, verdict.lost), (false, 1));
        let verdict = Verdict::of(Scenario::Baseline, &story(119), &record("strange", 120, 1_000_000, 0));
        assert!(!verdict.ok && verdict.why[0].contains("not in the job"), "{:?}", verdict.why);
    }

    #[test]
    fn a_slow_baseline_is_not_ok() {
        let verdict = Verdict::of(Scenario::Baseline, &story(120), &record("slow", 120, 1_030_000, 0));
        assert!(!verdict.ok && verdict.why[0].contains("97.087 %"), "{:?}", verdict.why);
    }

    #[test]
    fn a_killed_dispatcher_has_five_seconds_and_its_own_devices_count() {
        let at = |devices, fault_us, orphans: Option<&[&str]>, pause_us| {
            let orphans = orphans.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
            let story = Story { fault_us: Some(fault_us), orphans, ..story(devices) };
            let name = format!("kill{fault_us}-{pause_us}");
            Verdict::of(Scenario::DispatcherKill, &story, &record(&name, devices, 1_000_000, pause_us))
        };
        // Half of 60 were told when the fault falls, 0.5 s after the 30th.
        let fault = 1_000_000 + 29 * 1_000_000 + 500_000;
        assert_eq!(at(60, fault, None, 4_000_000).resume_seconds, Some(4.5));
        assert!(at(60, fault, None, 4_000_000).ok);
        assert!(!at(60, fault, None, 5_000_000).ok);
        let own = at(60, fault, Some(&["d3", "d36"]), 0);
        assert_eq!((own.resume_seconds, own.ok), (Some(6.5), false));
        let none = Verdict::of(Scenario::DispatcherKill, &story(60), &record("none", 60, 1_000_000, 0));
        assert!(!none.ok, "a fault that never fell proves nothing");
    }

    #[test]
    fn a_server_that_counts_otherwise_and_a_failed_call_spoil_it() {
        let counted = Story { succeeded: Some(119), ..story(120) };
        assert!(!Verdict::of(Scenario::Baseline, &counted, &record("counted", 120, 1_000_000, 0)).ok);
        let calls = Some(Calls { answered: 10, retried: 2, failed: 1 });
        let called = Story { calls, fault_us: Some(30_000_000), ..story(120) };
        assert!(!Verdict::of(Scenario::RollingRestart, &called, &record("called", 120, 1_000_000, 0)).ok);
    }
}
