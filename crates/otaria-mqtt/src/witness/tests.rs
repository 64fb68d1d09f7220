use std::sync::Arc;

use otaria_core::door::SessionSeq;
use otaria_core::ids::{ModuleName, Version};
use otaria_core::job::Schedule;
use otaria_core::pace::PerMinute;
use otaria_core::task::TaskKey;
use otaria_core::witness::Terms;
use otaria_ports::pusher::{Offer, SignMethod};

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn device(n: i64) -> DeviceId {
    DeviceId::new(Shard(3), n)
}

/// A notice of a job that may write two a minute, before its tenth second.
fn notice() -> Notice {
    let offer = Offer {
        version: Version::parse("2").unwrap(),
        module: ModuleName::default_module(),
        files: Vec::new(),
        stream_id: None,
        sign_method: SignMethod::Md5,
        is_diff: false,
        udi: None,
        tags: Vec::new(),
    };
    let schedule = Schedule { start: None, finish: Some(at(10_000)) };
    Notice {
        key: TaskKey { device: device(1), job: JobNo(1), seq: 1 },
        attempt: 1,
        wire_id: 1,
        session: 1,
        shard: (Shard(3), 7),
        fence: 2,
        not_before: at(0),
        not_after: at(300),
        terms: Some(Terms { rate: PerMinute::new(2).unwrap(), schedule }),
        offer: Arc::new(offer),
    }
}

fn stamp(notice: &Notice) -> Stamp {
    Stamp {
        shard: notice.shard.0,
        epoch: notice.shard.1,
        job: notice.key.job,
        fence: notice.fence,
        session: SessionSeq(notice.session),
        not_before: notice.not_before,
        not_after: notice.not_after,
    }
}

fn seen(witness: &Witness, notice: &Notice, device: DeviceId, millis: i64) -> Vec<Invariant> {
    let found = witness.look(notice, &stamp(notice), device, at(millis));
    found.into_iter().map(|broken| broken.invariant).collect()
}

#[test]
fn a_notice_that_was_written_to_another_device_is_seen() {
    let witness = Witness::default();
    assert_eq!(seen(&witness, &notice(), device(1), 0), []);
    assert_eq!(seen(&witness, &notice(), device(2), 0), [Invariant::Own]);
}

#[test]
fn a_notice_too_many_and_one_after_the_finish_are_seen() {
    let witness = Witness::default();
    let all: Vec<_> =
        [0, 1, 2, 10_000].into_iter().map(|millis| seen(&witness, &notice(), device(1), millis)).collect();
    assert_eq!(all, [vec![], vec![], vec![Invariant::Pace], vec![Invariant::Schedule, Invariant::Pace]]);
}

#[test]
fn what_is_written_below_a_raised_fence_or_epoch_is_seen() {
    let witness = Witness::default();
    witness.fence_raised(JobNo(1), 3, at(0));
    assert_eq!(seen(&witness, &notice(), device(1), 0), [Invariant::Stopped]);
    witness.epoch_raised(Shard(3), 8);
    let resumed = Notice { fence: 3, ..notice() };
    assert_eq!(seen(&witness, &resumed, device(1), 0), [Invariant::Epoch]);
}

#[test]
fn a_write_that_nobody_can_place_in_time_is_stalled() {
    assert!(!is_stalled(&notice(), at(399)), "it was decided before 300, and took a moment");
    assert!(is_stalled(&notice(), at(400)));
}
