//! What must be true after all kills: by the server's books, and by the devices' own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use otaria_proto::v1::{TaskCounts, TaskStatus};
use tokio::time::Instant;

use super::Round;
use super::cast::Cast;
use super::list::List;
use crate::alarms;
use crate::device::{Device, Temper, most_in_any};
use crate::faces::Faces;
use crate::http;
use crate::rollout::{group_by, query, tasks};

const MINUTE: Duration = Duration::from_secs(60);

/// What may delay a notice on its way through a machine that is busy with other tests.
const DELAY: Duration = Duration::from_secs(2);

/// All online devices are final, all others wait.
pub(super) async fn running(faces: &Faces, cast: &Cast, job: &str, list: &List, counts: TaskCounts) {
    let failing = cast.online.iter().filter(|device| device.temper() == Temper::Failing).count();
    let good = cast.online.len() - failing;
    let of = |count: usize| i64::try_from(count).unwrap();
    assert_eq!((counts.succeeded, counts.failed), (of(good), of(failing)));
    assert_eq!(counts.notified + counts.in_progress + counts.confirm + counts.canceled, 0, "{counts:?}");
    books(faces, cast, job, list).await;
}

/// After the cancellation: everything is final, and the devices agree.
pub(super) async fn ended(
    faces: &Faces,
    http: SocketAddr,
    cast: &Cast,
    round: &Round,
    job: &str,
    list: &List,
) -> TaskCounts {
    let counts = books(faces, cast, job, list).await;
    assert_eq!(counts.queued + counts.notified + counts.in_progress + counts.confirm, 0, "{counts:?}");
    rejects(faces, http, job, list).await;
    alarms::assert_none(http).await;
    devices(faces, cast, round, job).await;
    pace(&cast.online, &round.version, round.maximum_per_minute);
    counts
}

/// I4: every line has exactly one outcome. I9: counters are what counting gives. No device is there twice.
async fn books(faces: &Faces, cast: &Cast, job: &str, list: &List) -> TaskCounts {
    let info = query(faces, job).await;
    let expansion = info.expansion.unwrap_or_default();
    assert!(expansion.complete);
    let skipped = i64::try_from(cast.ahead.len()).unwrap();
    let made = i64::try_from(cast.names.len()).unwrap() - skipped;
    assert_eq!(
        (expansion.lines, expansion.tasks, expansion.skipped, expansion.rejected, expansion.busy),
        (list.lines, made, skipped, list.rejected(), 0)
    );
    assert_eq!(expansion.lines, expansion.tasks + expansion.skipped + expansion.rejected);

    let all = tasks(faces, job).await;
    let ahead: BTreeSet<&str> = cast.ahead.iter().map(Device::name).collect();
    let listed = cast.names.iter().map(String::as_str);
    let expected: BTreeSet<&str> = listed.filter(|name| !ahead.contains(name)).collect();
    let found: BTreeSet<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(found.symmetric_difference(&expected).collect::<Vec<_>>(), Vec::<&&str>::new());

    let counts = info.task_counts.unwrap_or_default();
    assert_eq!(counts, group_by(all.values()), "counters and tasks");
    counts
}

/// The file of rejected lines holds each of them once, with its reason.
async fn rejects(faces: &Faces, http: SocketAddr, job: &str, list: &List) {
    let url = query(faces, job).await.reject_file_url.expect("lines were rejected");
    let path = url.strip_prefix(&format!("http://{http}")).expect("an address of the HTTP face");
    let file = http::get(http, path).await;
    assert_eq!(file.status, 200);
    let mut reasons: BTreeMap<String, i64> = BTreeMap::new();
    for line in file.text.lines() {
        if let Some((_, reason)) = line.split_once('\t') {
            *reasons.entry(reason.split([':', ' ']).next().unwrap().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(reasons.values().sum::<i64>(), list.rejected(), "{reasons:?}");
    assert_eq!(reasons.get("unknown"), Some(&list.unknown), "{reasons:?}");
    assert_eq!(reasons.get("duplicate"), Some(&list.duplicates), "{reasons:?}");
}

/// Each device was told, and ended as its temper is; I7: at most the allowed attempts.
async fn devices(faces: &Faces, cast: &Cast, round: &Round, job: &str) {
    let all = tasks(faces, job).await;
    let most = 1 + usize::try_from(round.retry_count.unwrap_or(0)).unwrap();
    let mut repeats = 0;
    for device in &cast.online {
        let name = device.name();
        let seen = device.seen(&round.version);
        let attempts = seen.iter().map(|seen| seen.wire_id).collect::<BTreeSet<_>>().len();
        assert!((1..=most).contains(&attempts), "{name} saw {attempts} attempts of {most}");
        repeats += seen.len() - attempts;

        let task = &all[name];
        assert!(usize::try_from(task.attempt).unwrap() <= most, "{name}: {task:?}");
        let failing = device.temper() == Temper::Failing;
        let status = if failing { TaskStatus::Failed } else { TaskStatus::Succeeded };
        assert_eq!(task.task_status(), status, "{name}: {task:?}");
        assert_eq!(device.version() == round.version, !failing, "{name}");
        assert_eq!(device.odd(), Vec::<String>::new());
    }
    for device in &cast.ahead {
        assert!(!device.was_told(&round.version), "{} has it already", device.name());
    }
    let online: BTreeSet<&str> = cast.online.iter().map(Device::name).collect();
    for task in all.values().filter(|task| !online.contains(task.device_name.as_str())) {
        let state = (task.task_status(), task.attempt, task.notices);
        assert_eq!(state, (TaskStatus::Canceled, 0, 0), "{}", task.device_name);
    }
    let reconnects: u32 = cast.online.iter().map(|device| device.connects() - 1).sum();
    println!("  {repeats} repeats so far, {reconnects} reconnects");
}

/// I1, by the devices' record: at most the pace in any 60 s. There is no burst either, after no restart.
pub(super) fn pace(devices: &[Device], version: &str, maximum_per_minute: i32) {
    let seen = devices.iter().flat_map(|device| device.seen(version));
    let instants: Vec<Instant> = seen.map(|seen| seen.at).collect();
    let limit = usize::try_from(maximum_per_minute).unwrap();
    let most = most_in_any(MINUTE, &instants);
    println!("  {} notices, {most} of {limit} in the busiest minute", instants.len());
    assert!(most <= limit, "{most} notices in 60 s, {limit} are allowed");

    for seconds in [5, 15, 30] {
        let window = Duration::from_secs(seconds);
        let even = (window + DELAY).as_secs_f64() / MINUTE.as_secs_f64() * f64::from(maximum_per_minute);
        let most = most_in_any(window, &instants);
        let allowed = even + 3.0 + f64::from(maximum_per_minute) / 1_000.0;
        let found = f64::from(u32::try_from(most).unwrap());
        assert!(found <= allowed, "{most} notices in {seconds} s at {limit} a minute");
    }
}
