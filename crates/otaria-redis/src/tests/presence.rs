//! Presence over several gateways and owners.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::DeviceId;
use otaria_core::shard::Shard;
use otaria_ports::presence::{Presence, PresenceChange, contract};
use otaria_ports::pusher::KeptPusher;
use tokio::time::{Instant, sleep};

use super::{Server, config, config_at, process, until};
use crate::presence::Place;
use crate::{GatewayMail, Hub, RedisConfig, RedisPresence, SharedClock};

/// A process that is a gateway.
struct Gateway {
    name: String,
    presence: Arc<RedisPresence>,
    local: Arc<KeptPusher>,
    _hub: Arc<Hub>,
}

impl Gateway {
    async fn start(config: &RedisConfig) -> Self {
        let link = process(config).await;
        let hub = Hub::start(&link);
        let presence = Arc::new(RedisPresence::new(link.clone(), SharedClock::start(&link), Arc::default()));
        let local = Arc::new(KeptPusher::default());
        GatewayMail::start(&link, &hub, Arc::clone(&presence), Arc::clone(&local) as _).await;
        presence.begin_gateway(Arc::clone(&local) as _).await.unwrap();
        Self { name: link.process().to_owned(), presence, local, _hub: hub }
    }

    fn closed(&self) -> Vec<DeviceId> {
        self.local.closed.lock().unwrap().clone()
    }
}

/// A process that follows.
async fn owner(config: &RedisConfig) -> RedisPresence {
    let link = process(config).await;
    let clock = SharedClock::start(&link);
    RedisPresence::new(link, clock, Arc::default())
}

fn device(shard: u8, n: i64) -> DeviceId {
    DeviceId::new(Shard(shard), n)
}

fn shards(shards: &[u8]) -> BTreeSet<Shard> {
    shards.iter().copied().map(Shard).collect()
}

/// Collects changes until there are so many.
async fn changes(owner: &RedisPresence, count: usize) -> Vec<PresenceChange> {
    let all = std::cell::RefCell::new(Vec::new());
    until(Duration::from_secs(10), || async {
        let some = owner.changes(1_000).await.unwrap();
        all.borrow_mut().extend(some);
        all.borrow().len() >= count
    })
    .await;
    all.into_inner()
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract() {
    contract::a_second_login_replaces_the_first(&owner(&config()).await).await;
    let pause = || sleep(Duration::from_millis(20));
    contract::changes_and_snapshot_agree(&owner(&config()).await, pause).await;
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_login_at_another_gateway_closes_the_first_and_everybody_agrees() {
    let config = config();
    let (a, b) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let owner = owner(&config).await;
    owner.follow(&shards(&[5])).await.unwrap();
    let first = a.presence.connect(device(5, 1)).await.unwrap();
    let second = b.presence.connect(device(5, 1)).await.unwrap();
    assert_eq!(second.older, Some(first.session));
    assert!(second.session > first.session);
    until(Duration::from_secs(10), || async { a.closed() == [device(5, 1)] }).await;
    a.presence.disconnect(device(5, 1), first.session).await.unwrap();

    let arrived = |session| PresenceChange::Arrived(device(5, 1), session);
    assert_eq!(changes(&owner, 2).await, [arrived(first.session), arrived(second.session)]);
    assert_eq!(owner.sessions(&[device(5, 1), device(5, 2)]).await.unwrap(), [Some(second.session), None]);
    assert_eq!(owner.snapshot(Shard(5)).await.unwrap(), [(device(5, 1), second.session)]);
    assert_eq!(b.closed(), []);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_shard_that_changes_hands_is_followed_by_its_owner_alone_and_without_a_gap() {
    let config = config();
    let gateway = Gateway::start(&config).await;
    let (old, new) = (owner(&config).await, owner(&config).await);
    old.follow(&shards(&[1, 2])).await.unwrap();
    new.follow(&shards(&[3])).await.unwrap();
    let early = gateway.presence.connect(device(2, 1)).await.unwrap().session;
    assert_eq!(changes(&old, 1).await, [PresenceChange::Arrived(device(2, 1), early)]);

    old.follow(&shards(&[1])).await.unwrap();
    new.follow(&shards(&[2, 3])).await.unwrap();
    // It comes between following and reading: in the snapshot, and as a change again.
    let late = gateway.presence.connect(device(2, 2)).await.unwrap().session;
    let snapshot = new.snapshot(Shard(2)).await.unwrap();
    assert_eq!(snapshot, [(device(2, 1), early), (device(2, 2), late)]);
    assert_eq!(changes(&new, 1).await, [PresenceChange::Arrived(device(2, 2), late)]);
    gateway.presence.disconnect(device(2, 1), early).await.unwrap();
    assert_eq!(changes(&new, 1).await, [PresenceChange::Left(device(2, 1), early)]);
    sleep(Duration::from_millis(300)).await;
    assert_eq!(old.changes(10).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn the_devices_of_a_dead_gateway_are_offline_within_six_seconds() {
    let config = config();
    let (dying, living) = (Gateway::start(&config).await, Gateway::start(&config).await);
    let owner = owner(&config).await;
    owner.follow(&shards(&[5])).await.unwrap();
    let lost = dying.presence.connect(device(5, 1)).await.unwrap().session;
    let stays = living.presence.connect(device(5, 2)).await.unwrap().session;
    changes(&owner, 2).await;
    drop(dying);
    let died = Instant::now();
    let left = PresenceChange::Left(device(5, 1), lost);
    until(Duration::from_secs(20), || async { owner.changes(10).await.unwrap().contains(&left) }).await;
    let after = died.elapsed();
    assert!((3_900..=7_500).contains(&after.as_millis()), "{after:?}");
    assert_eq!(owner.snapshot(Shard(5)).await.unwrap(), [(device(5, 2), stays)]);
    assert_eq!(owner.sessions(&[device(5, 1), device(5, 2)]).await.unwrap(), [None, Some(stays)]);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_gateway_that_ends_takes_its_devices_with_it_at_once() {
    let config = config();
    let gateway = Gateway::start(&config).await;
    let owner = owner(&config).await;
    owner.follow(&shards(&[5])).await.unwrap();
    let session = gateway.presence.connect(device(5, 1)).await.unwrap().session;
    changes(&owner, 1).await;
    gateway.presence.end_gateway().await.unwrap();
    assert_eq!(changes(&owner, 1).await[0], PresenceChange::Left(device(5, 1), session));
    assert_eq!(owner.snapshot(Shard(5)).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn after_a_flush_everybody_is_there_again_in_the_same_session() {
    let server = Server::start(&[]).await;
    let config = config_at(&server.url());
    let gateway = Gateway::start(&config).await;
    let owner = owner(&config).await;
    owner.follow(&shards(&[5, 200])).await.unwrap();
    let mut devices: Vec<(DeviceId, i64)> = Vec::new();
    for n in 0..50 {
        let device = device(if n % 2 == 0 { 5 } else { 200 }, n);
        devices.push((device, gateway.presence.connect(device).await.unwrap().session));
    }
    changes(&owner, 50).await;
    server.cli(&["flushall"]).await;
    let later = gateway.presence.connect(device(5, 1_000)).await.unwrap().session;
    assert!(devices.iter().all(|(_, session)| *session < later), "numbers grow over a flush");
    let all = || async {
        owner.snapshot(Shard(5)).await.unwrap().len() + owner.snapshot(Shard(200)).await.unwrap().len()
    };
    until(Duration::from_secs(10), || async { all().await == 51 }).await;
    let ids: Vec<DeviceId> = devices.iter().map(|(device, _)| *device).collect();
    let sessions: Vec<Option<i64>> = devices.iter().map(|(_, session)| Some(*session)).collect();
    assert_eq!(owner.sessions(&ids).await.unwrap(), sessions);

    // Nobody was said to have left, and the new log is followed.
    sleep(Duration::from_secs(4)).await;
    let told = owner.changes(10_000).await.unwrap();
    let left = told.iter().filter(|change| matches!(change, PresenceChange::Left(..))).count();
    assert_eq!(left, 0);
    assert!(told.contains(&PresenceChange::Arrived(device(5, 1_000), later)));
    gateway.presence.disconnect(device(5, 1_000), later).await.unwrap();
    assert_eq!(changes(&owner, 1).await, [PresenceChange::Left(device(5, 1_000), later)]);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn after_a_flush_a_session_that_was_replaced_meanwhile_is_closed() {
    let server = Server::start(&[]).await;
    let config = config_at(&server.url());
    let (a, b) = (Gateway::start(&config).await, Gateway::start(&config).await);
    a.presence.connect(device(5, 1)).await.unwrap();
    server.cli(&["flushall"]).await;
    // Nobody could tell it that there is an older one.
    let present = b.presence.connect(device(5, 1)).await.unwrap();
    until(Duration::from_secs(10), || async { a.closed() == [device(5, 1)] }).await;
    assert_eq!(b.presence.sessions(&[device(5, 1)]).await.unwrap(), [Some(present.session)]);
    assert_eq!(b.closed(), []);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_log_that_was_cut_is_made_good() {
    let config = config();
    let gateway = Gateway::start(&config).await;
    let owner = owner(&config).await;
    owner.follow(&shards(&[5])).await.unwrap();
    let link = process(&config).await;
    let gone = gateway.presence.connect(device(5, 1)).await.unwrap().session;
    changes(&owner, 1).await;
    gateway.presence.connect(device(5, 2)).await.unwrap();
    gateway.presence.disconnect(device(5, 1), gone).await.unwrap();
    let [_, log, _] = link.keys().shard(Shard(5));
    let _: i64 = link.query(redis::cmd("XTRIM").arg(log).arg("MAXLEN").arg(0), "cutting").await.unwrap();
    let last = gateway.presence.connect(device(5, 3)).await.unwrap().session;
    // Either the entries were read before the cut, or their loss is found by the next one.
    let seen = std::cell::RefCell::new(BTreeSet::new());
    until(Duration::from_secs(10), || async {
        for change in owner.changes(100).await.unwrap() {
            seen.borrow_mut().insert(match change {
                PresenceChange::Arrived(device, _) => (device.n(), true),
                PresenceChange::Left(device, _) => (device.n(), false),
            });
        }
        [(1, false), (2, true), (3, true)].iter().all(|wanted| seen.borrow().contains(wanted))
    })
    .await;
    assert!(last > gone);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn what_a_failover_lost_is_written_again() {
    let config = config();
    let gateway = Gateway::start(&config).await;
    let session = gateway.presence.connect(device(30, 1)).await.unwrap().session;
    let link = process(&config).await;
    // The first look at the first shards is over.
    sleep(Duration::from_millis(1_200)).await;
    let [online, ..] = link.keys().shard(Shard(30));
    let _: i64 = link.query(redis::cmd("DEL").arg(online), "losing").await.unwrap();
    let asked = [device(30, 1)];
    assert_eq!(gateway.presence.sessions(&asked).await.unwrap(), [None]);
    let is_back = || async { gateway.presence.sessions(&asked).await.unwrap() == [Some(session)] };
    until(Duration::from_secs(40), is_back).await;
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn what_an_older_state_says_too_much_is_taken_back() {
    let mut server = Server::start(&[]).await;
    let config = config_at(&server.url());
    let gateway = Gateway::start(&config).await;
    let owner = owner(&config).await;
    // The last shard is looked at first.
    let left = gateway.presence.connect(device(255, 1)).await.unwrap().session;
    let stays = gateway.presence.connect(device(255, 2)).await.unwrap().session;
    server.cli(&["save"]).await;
    gateway.presence.disconnect(device(255, 1), left).await.unwrap();
    // Longer than any answer takes: what was just begun is left alone.
    sleep(Duration::from_secs(11)).await;
    server.kill().await;
    server.run().await;
    let asked = [device(255, 1), device(255, 2)];
    let sessions = || async { owner.sessions(&asked).await.ok() };
    until(Duration::from_secs(10), || async { sessions().await.is_some_and(|seen| seen[1].is_some()) }).await;
    until(Duration::from_secs(10), || async { sessions().await == Some(vec![None, Some(stays)]) }).await;
}

/// A shard of many pages, devices of which come and go while it is read: in the end all is as the record says, and
/// nobody else waits for long.
#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_large_shard_is_read_in_pages_while_it_changes() {
    const MANY: i64 = 30_000;
    let config = config();
    let gateway = Gateway::start(&config).await;
    let link = process(&config).await;
    let [online, ..] = link.keys().shard(Shard(77));
    // Of a gateway that lives, as if it had announced them.
    let at = &gateway.name;
    for first in (0..MANY).step_by(1_000) {
        let mut cmd = redis::cmd("HSET");
        cmd.arg(&online);
        for n in first..first + 1_000 {
            cmd.arg(device(77, n).0).arg(format!("{at} {}", 1_000 + n));
        }
        let _: i64 = link.query(&cmd, "filling").await.unwrap();
    }
    let owner = owner(&config).await;
    let changing = async {
        let mut sessions = Vec::new();
        for n in 0..200 {
            // New ones, and ones that were there.
            let device = device(77, MANY - 100 + n);
            sessions.push((device, gateway.presence.connect(device).await.unwrap().session));
        }
        for (device, session) in sessions.iter().step_by(2) {
            gateway.presence.disconnect(*device, *session).await.unwrap();
        }
    };
    let reading = async {
        owner.follow(&shards(&[77])).await.unwrap();
        owner.snapshot(Shard(77)).await.unwrap()
    };
    let (read, ()) = tokio::join!(reading, changing);
    assert!(read.len() >= 29_900, "{}", read.len());

    let fresh = process(&config).await;
    let fresh = RedisPresence::new(fresh.clone(), SharedClock::start(&fresh), Arc::default());
    let truth = fresh.snapshot(Shard(77)).await.unwrap();
    // 30,000 and 100 new ones, of which and of the hundred last half left.
    assert_eq!(truth.len(), 30_000);
    until(Duration::from_secs(10), || async {
        owner.changes(10_000).await.unwrap();
        let is_right = |n| {
            let is_online = n < MANY - 100 || n % 2 == 1;
            (owner.place(device(77, n), i64::MAX) == Place::Gone) != is_online
        };
        (0..MANY + 100).all(is_right)
    })
    .await;
    assert_eq!(owner.snapshot(Shard(77)).await.unwrap(), truth);
}
