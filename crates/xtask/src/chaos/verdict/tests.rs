//! Good ends and bad ones, each from a record of a few lines.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use super::super::fault::World;
use super::super::job::Errand;
use super::super::world::Ware;
use super::*;

const HEAD: &str = "unix_us,device,event,what,id\n";

/// A device that was told, began and has the version, as its fleet writes it.
const UPDATED: &str = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n2000001,d1,progress,10,\n\
    3000000,d1,inform,2.0.1,\n";

fn errand(kind: Kind) -> Errand {
    Errand {
        world: World::Cluster,
        number: 1,
        kind,
        at: Duration::ZERO,
        pool: 0,
        limit: 60,
        other_limit: 60,
        percent: 50,
        over_mqtt: false,
        then: Duration::ZERO,
        pause: Duration::ZERO,
    }
}

fn ended(kind: Kind, names: &[&str], tasks: &[(&str, &str, &str)]) -> Ended {
    let count = |status: &str| tasks.iter().filter(|task| task.1 == status).count();
    let counts: serde_json::Map<String, Value> = STATUSES
        .iter()
        .map(|(name, status)| ((*name).to_owned(), count(status.trim_start_matches("TASK_STATUS_")).into()))
        .collect();
    let tasks: Vec<Value> = tasks
        .iter()
        .map(|(device, status, desc)| {
            json!({ "device_name": device, "task_status": format!("TASK_STATUS_{status}"), "task_desc": desc })
        })
        .collect();
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let ware = Ware { firmware: "f".to_owned(), list: "l".into(), group: "g".to_owned(), names };
    let expansion = json!({ "lines": tasks.len(), "tasks": tasks.len(), "skipped": 0, "rejected": 0 });
    Ended {
        story: Story {
            errand: errand(kind),
            ware,
            job: Some("j".to_owned()),
            cancelled_us: None,
            paused_us: None,
            retried: 0,
            troubles: Vec::new(),
        },
        shown: json!({ "task_counts": counts, "expansion": expansion }),
        tasks,
    }
}

fn record(name: &str, lines: &str) -> Record {
    let file = std::env::temp_dir().join(format!("xtask-chaos-{name}-{}", std::process::id()));
    std::fs::write(&file, HEAD.to_owned() + lines).unwrap();
    let record = Record::read(std::slice::from_ref(&file)).unwrap();
    std::fs::remove_file(file).unwrap();
    record
}

fn judged(name: &str, job: Ended, temper: Temper, lines: &str) -> Findings {
    judge(&[job], &BTreeMap::from([("d1".to_owned(), temper)]), &record(name, lines))
}

#[test]
fn an_update_that_both_sides_know_of_is_fine() {
    let found =
        judged("fine", ended(Kind::Plain, &["d1"], &[("d1", "SUCCEEDED", "")]), Temper::Good, UPDATED);
    assert_eq!((found.lost, found.violations.as_slice()), (0, &[][..]));
    assert_eq!((found.tasks, found.notices), (1, 1));
    assert!(["pace", "counters", "end_state"].iter().all(|rule| found.checked[rule] == 1));
}

#[test]
fn an_end_that_the_record_does_not_explain_is_lost() {
    let only_told = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n2000001,d1,progress,10,\n";
    let nothing = "1000000,d1,online,,\n";
    // It was told of 2.0.0 by an earlier job, and carried that out first.
    let earlier = "1000000,d1,online,,\n1500000,d1,notice,2.0.0,6\n2000000,d1,notice,2.0.1,7\n\
        2000001,d1,progress,10,\n3000000,d1,inform,2.0.0,\n";
    for (name, task, lines) in [
        ("claimed", ("d1", "SUCCEEDED", ""), only_told),
        ("unheard", ("d1", "FAILED", TIMEOUT), UPDATED),
        ("endless", ("d1", "FAILED", TIMEOUT), only_told),
        ("untold", ("d1", "FAILED", OFFER_TIMEOUT), nothing),
        ("nobody", ("d1", "CANCELED", BY_OPERATOR), nothing),
        ("unreported", ("d1", "FAILED", "the device reported -1: update failed"), only_told),
        ("alone", ("d1", "FAILED", BUSY), nothing),
        ("open", ("d1", "NOTIFIED", ""), only_told),
        ("earlier", ("d1", "FAILED", FOREIGN), earlier),
    ] {
        let found = judged(name, ended(Kind::Plain, &["d1"], &[task]), Temper::Good, lines);
        assert_eq!((found.lost, found.violations.len()), (1, 1), "{name}: {:?}", found.violations);
    }
}

#[test]
fn an_end_that_the_record_explains_is_not() {
    let failed = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n2000001,d1,progress,-1,\n";
    let silent = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n";
    let late = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n2000001,d1,progress,10,\n\
        63000000,d1,inform,2.0.1,\n";
    let foreign = "1000000,d1,online,,\n2000000,d1,notice,2.0.1,7\n2000001,d1,progress,10,\n\
        3000000,d1,inform,0.9.0,\n";
    for (name, kind, temper, task, lines) in [
        ("foreign", Kind::Plain, Temper::Good, ("d1", "FAILED", FOREIGN), foreign),
        (
            "failed",
            Kind::Plain,
            Temper::Failing,
            ("d1", "FAILED", "the device reported -1: update failed"),
            failed,
        ),
        ("silent", Kind::Plain, Temper::Silent, ("d1", "FAILED", OFFER_TIMEOUT), silent),
        ("late", Kind::Plain, Temper::Good, ("d1", "FAILED", TIMEOUT), late),
        ("cancelled", Kind::Cancel, Temper::Good, ("d1", "CANCELED", BY_OPERATOR), silent),
        (
            "last words",
            Kind::Cancel,
            Temper::Flaky,
            ("d1", "CANCELED", "canceled by an operator (update failed)"),
            failed,
        ),
    ] {
        let found = judged(name, ended(kind, &["d1"], &[task]), temper, lines);
        assert_eq!(found.violations, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_device_without_a_task_and_a_stranger_are_found() {
    let found = judged("none", ended(Kind::Plain, &["d1"], &[]), Temper::Good, "1000000,d1,online,,\n");
    assert_eq!(found.lost, 1);
    let stranger = UPDATED.to_owned() + "4000000,d2,notice,2.0.1,8\n";
    let found =
        judged("stranger", ended(Kind::Plain, &["d1"], &[("d1", "SUCCEEDED", "")]), Temper::Good, &stranger);
    assert!(found.violations[0].contains("d2 was told and has no task"), "{:?}", found.violations);
}

#[test]
fn a_window_that_is_too_full_a_late_notice_and_a_wrong_count_are_found() {
    let burst: String = (0..61).map(|n| format!("{},d1,notice,2.0.1,{n}\n", 2_000_000 + n)).collect();
    let job = ended(Kind::Plain, &["d1"], &[("d1", "SUCCEEDED", "")]);
    let found = judged("burst", job, Temper::Good, &(UPDATED.to_owned() + &burst));
    assert!(found.violations[0].contains("62 notices in one window"), "{:?}", found.violations);

    let mut job = ended(Kind::Cancel, &["d1"], &[("d1", "SUCCEEDED", "")]);
    job.story.cancelled_us = Some(2_000_000);
    let late = UPDATED.to_owned() + "4000001,d1,notice,2.0.1,7\n";
    let found = judged("cancel", job, Temper::Good, &late);
    assert!(found.violations[0].contains("1 notices after its cancellation"), "{:?}", found.violations);

    let mut job = ended(Kind::Plain, &["d1"], &[("d1", "SUCCEEDED", "")]);
    job.shown["task_counts"]["succeeded"] = 2.into();
    let found = judged("count", job, Temper::Good, UPDATED);
    assert!(found.violations[0].contains("Some(2) tasks succeeded by count, 1 by list"));
}
