//! Notices that must not be written are not.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::shard::Shard;
use otaria_ports::clock::{Clock, ManualClock};
use otaria_ports::pusher::{Notice, Outcome, Pusher};

use crate::client::Client;
use crate::world::{HostClock, World};

#[tokio::test]
async fn a_late_a_stale_and_a_fenced_notice_are_not_written() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let good = world.notice(1).await;
    let past = HostClock.now() - Duration::from_millis(1);
    world.pusher.fence(JobNo(2), 5).await.unwrap();
    world.pusher.epoch(Shard(4), 9).await.unwrap();
    let mut fenced = good.clone();
    fenced.key.job = JobNo(2);
    fenced.fence = 4;
    let late = Notice { not_before: past, not_after: past, ..good.clone() };
    let stale = Notice { session: good.session - 1, ..good.clone() };
    let lost_lease = Notice { shard: (Shard(4), 8), ..good.clone() };
    world.pusher.send(vec![late, stale, fenced.clone(), lost_lease]).await.unwrap();

    assert_eq!(world.outcomes(4).await, [Outcome::Stale; 4]);
    assert!(client.hears_nothing().await);
    fenced.fence = 5;
    world.pusher.send(vec![fenced]).await.unwrap();
    client.publish().await;
}

#[tokio::test]
async fn without_a_clock_nothing_is_written() {
    let clock = Arc::new(ManualClock::at(HostClock.now()));
    let world = World::by(clock.clone(), |_| {});
    let mut client = Client::device(world.plain, 1).await;
    let good = world.notice(1).await;
    clock.set(good.not_before);
    clock.lose(true);
    // As much in time as can be, as far as this clock shows.
    world.pusher.send(vec![good.clone()]).await.unwrap();
    assert_eq!(world.outcomes(1).await, [Outcome::Stale]);
    assert!(client.hears_nothing().await);
    clock.lose(false);
    world.pusher.send(vec![good]).await.unwrap();
    client.publish().await;
    assert_eq!(world.outcomes(2).await, [Outcome::Stale, Outcome::Written]);
}

#[tokio::test]
async fn a_fence_stops_what_waits_for_its_time() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let mut notice = world.notice(1).await;
    notice.not_before = HostClock.now() + Duration::from_millis(200);
    world.pusher.send(vec![notice]).await.unwrap();
    world.pusher.fence(JobNo(1), 2).await.unwrap();
    assert_eq!(world.outcomes(1).await, [Outcome::Stale]);
    assert!(client.hears_nothing().await);
}

/// Whichever of the two is due first.
#[tokio::test]
async fn a_notice_that_waits_is_not_written_once_a_later_job_has_the_device() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    for (earlier_ms, later_ms) in [(200, 300), (300, 200)] {
        let mut earlier = world.notice(1).await;
        earlier.not_before = HostClock.now() + Duration::from_millis(earlier_ms);
        let mut later = earlier.clone();
        later.key.job = JobNo(earlier.key.job.0 + 1);
        later.not_before = HostClock.now() + Duration::from_millis(later_ms);
        later.wire_id = earlier.wire_id + 1;
        let wire_id = later.wire_id;
        world.pusher.send(vec![earlier]).await.unwrap();
        world.pusher.send(vec![later]).await.unwrap();
        let notice: serde_json::Value = serde_json::from_slice(&client.publish().await.payload).unwrap();
        assert_eq!(notice["id"], wire_id);
        assert!(client.hears_nothing().await);
    }
    let mut outcomes = world.outcomes(4).await;
    outcomes.sort_by_key(|outcome| *outcome == Outcome::Written);
    assert_eq!(outcomes, [Outcome::Stale, Outcome::Stale, Outcome::Written, Outcome::Written]);
}

#[tokio::test]
async fn a_notice_waits_for_its_time() {
    let world = World::start();
    let mut client = Client::device(world.plain, 1).await;
    let mut notice = world.notice(1).await;
    notice.not_before = HostClock.now() + Duration::from_millis(300);
    let due = notice.not_before;
    world.pusher.send(vec![notice]).await.unwrap();
    client.publish().await;
    assert!(HostClock.now() >= due);
    assert!(HostClock.now().since(due) < Duration::from_secs(2));
}

#[tokio::test]
async fn a_notice_for_an_absent_device_is_gone() {
    let world = World::start();
    world.push(1).await;
    assert_eq!(world.outcomes(1).await, [Outcome::Gone]);
}
