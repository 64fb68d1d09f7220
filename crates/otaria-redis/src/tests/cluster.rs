//! The same on a cluster: every script keeps to one slot.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::pace::{HORIZON_CLUSTERED, PerMinute};
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::bus::{Bus, Signal};
use otaria_ports::clock::Clock;
use otaria_ports::pace::{Pace, PaceWish};
use otaria_ports::presence::{Presence, contract};
use otaria_ports::quotas::{NoQuotas, Quotas};
use tokio::time::sleep;

use super::{Server, config_at, process, until};
use crate::{Hub, RedisBus, RedisPace, RedisPresence, RedisQuotas, SharedClock};

/// Three servers that share the slots.
async fn cluster() -> Vec<Server> {
    let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
    let servers = vec![Server::start(&args).await, Server::start(&args).await, Server::start(&args).await];
    for (server, (from, to)) in servers.iter().zip([(0, 5_460), (5_461, 10_922), (10_923, 16_383)]) {
        let [from, to] = [from, to].map(|slot: u16| slot.to_string());
        server.cli(&["cluster", "addslotsrange", &from, &to]).await;
    }
    for server in &servers[1..] {
        servers[0].cli(&["cluster", "meet", "127.0.0.1", &server.port.to_string()]).await;
    }
    for server in &servers {
        let is_whole = || async {
            let info = server.cli(&["cluster", "info"]).await;
            info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
        };
        until(Duration::from_secs(20), is_whole).await;
    }
    servers
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn everything_works_on_a_cluster() {
    let servers = cluster().await;
    let nodes: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let config = config_at(&format!("redis+cluster://{}", nodes.join(",")));
    let link = process(&config).await;
    let clock = SharedClock::start(&link);

    let pace = RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap();
    sleep(Duration::from_millis(150)).await;
    let now = clock.now();
    let rate = PerMinute::new(600).unwrap();
    let wish =
        |job| PaceWish { job: JobNo(job), rate, rate_version: 1, want: 1, fresh: true, created_at: now };
    sleep(Duration::from_millis(150)).await;
    let created_at = now;
    let wishes: Vec<_> = (0..64).map(|job| PaceWish { created_at, ..wish(job) }).collect();
    let grants = pace.take(&wishes, clock.now()).await.unwrap();
    assert!(grants.iter().all(|grant| grant.emissions.len() == 1), "{grants:?}");

    let quotas = RedisQuotas::new(link.clone(), &[(5, &["A"])], Arc::new(NoQuotas));
    for account in (1..20).map(otaria_core::ids::AccountNo) {
        assert_eq!(quotas.take(account, "A").await.unwrap(), Ok(()));
    }

    let presence = RedisPresence::new(link.clone(), Arc::clone(&clock) as _, Arc::default());
    contract::changes_and_snapshot_agree(&presence, || sleep(Duration::from_millis(20))).await;
    let devices: Vec<DeviceId> = Shard::all().map(|shard| DeviceId::new(shard, 5)).collect();
    presence.follow(&Shard::all().collect()).await.unwrap();
    for device in &devices {
        presence.connect(*device).await.unwrap();
    }
    assert!(presence.sessions(&devices).await.unwrap().iter().all(Option::is_some));
    let mut seen = 0;
    for _ in 0..150 {
        seen += presence.changes(1_000).await.unwrap().len();
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(seen, devices.len());

    let other = process(&config).await;
    let (hub, other_hub) = (Hub::start(&link), Hub::start(&other));
    let bus = RedisBus::start(&link, &hub, Arc::default()).await;
    let other_bus = RedisBus::start(&other, &other_hub, Arc::default()).await;
    other_bus.drain(10);
    let is_heard = || async {
        // Between nodes a word may get lost; sweeps make that good, and here repeating it.
        bus.tell(Signal::JobOpened(JobNo(1)));
        other_bus.drain(100).contains(&Signal::JobOpened(JobNo(1)))
    };
    until(Duration::from_secs(20), is_heard).await;
    assert!(clock.now() > Timestamp::EPOCH);
}
