//! A failover, as sentinels do it.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::{HORIZON_CLUSTERED, PerMinute};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::bus::{Bus, Signal};
use otaria_ports::pace::{Pace, PaceWish};
use otaria_ports::presence::{Presence, PresenceChange};
use std::sync::Arc;
use tokio::time::{Instant, sleep};

use super::{Server, config_at, process, until};
use crate::{Hub, RedisBus, RedisPace, RedisPresence, SharedClock};

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_failover_is_followed_and_counts_as_a_loss() {
    let mut leader = Server::start(&[]).await;
    let replica = Server::start(&["--replicaof", "127.0.0.1", &leader.port.to_string()]).await;
    let sentinel = Server::sentinel(&leader).await;
    let is_in_step =
        || async { replica.cli(&["info", "replication"]).await.contains("master_link_status:up") };
    until(Duration::from_secs(10), is_in_step).await;
    let sees_replica =
        || async { sentinel.cli(&["sentinel", "replicas", "it"]).await.contains(&replica.port.to_string()) };
    until(Duration::from_secs(15), sees_replica).await;

    let config = config_at(&format!("redis+sentinel://127.0.0.1:{}/it", sentinel.port));
    let link = process(&config).await;
    let clock = SharedClock::start(&link);
    let hub = Hub::start(&link);
    let bus = RedisBus::start(&link, &hub, Arc::default()).await;
    let pace = RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap().in_made_time();
    let presence = RedisPresence::new(link.clone(), Arc::clone(&clock) as _, Arc::default());
    let device = DeviceId::new(Shard(3), 1);
    presence.follow(&Shard::all().collect()).await.unwrap();
    let first = presence.connect(device).await.unwrap().session;

    let rate = PerMinute::new(600).unwrap();
    let created_at = Timestamp::EPOCH;
    let wish = PaceWish { job: JobNo(1), rate, rate_version: 1, want: 100, fresh: true, created_at };
    let now = Timestamp::from_millis(1_790_000_000_000);
    assert_eq!(pace.take(&[wish], now).await.unwrap()[0].emissions.len(), 4);
    // All of it is at the replica, and still it does not count: nobody can know that it is all.
    sleep(Duration::from_millis(500)).await;
    leader.kill().await;
    let died = Instant::now();
    let not_new = PaceWish { fresh: false, ..wish };
    let grant = loop {
        if let Ok(mut grants) = pace.take(&[not_new], now).await {
            break grants.remove(0);
        }
        assert!(died.elapsed() < Duration::from_secs(20), "the new leader was not found");
        sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(grant.emissions, []);
    assert!(grant.next_at > now + Duration::from_millis(200), "{grant:?}");

    // The rest goes on there too.
    until(Duration::from_secs(10), || async { bus.drain(10).contains(&Signal::Missed) }).await;
    let second = presence.connect(device).await.unwrap();
    assert_eq!(second.older, Some(first));
    let arrived = PresenceChange::Arrived(device, second.session);
    until(Duration::from_secs(10), || async { presence.changes(100).await.unwrap().contains(&arrived) })
        .await;
}
