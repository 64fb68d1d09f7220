//! Signals between processes.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::shard::Shard;
use otaria_ports::bus::{Bus, Signal, contract};

use super::{Server, config, config_at, process, until};
use crate::{Hub, RedisBus, RedisConfig, RedisLink};

async fn bus(config: &RedisConfig) -> (RedisLink, Arc<Hub>, Arc<RedisBus>) {
    let link = process(config).await;
    let hub = Hub::start(&link);
    let bus = RedisBus::start(&link, &hub, Arc::default()).await;
    (link, hub, bus)
}

async fn heard(bus: &RedisBus, count: usize) -> Vec<Signal> {
    let all = std::cell::RefCell::new(Vec::new());
    until(Duration::from_secs(10), || async {
        all.borrow_mut().extend(bus.drain(1_000));
        all.borrow().len() >= count
    })
    .await;
    all.into_inner()
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn it_keeps_the_contract() {
    let (_link, _hub, bus) = bus(&config()).await;
    contract::signals_arrive_once_and_in_order(&*bus);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bus.drain(10), [], "its own words do not come back");
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn another_process_hears_everything_in_order() {
    let config = config();
    let (_a, _hub_a, a) = bus(&config).await;
    let (_b, _hub_b, b) = bus(&config).await;
    let devices = vec![DeviceId::new(Shard(3), 1), DeviceId::new(Shard(200), 2)];
    let mut told: Vec<_> = (0..600).map(|n| Signal::JobChanged(JobNo(n))).collect();
    told.extend([
        Signal::TasksReady { job: JobNo(-1), devices },
        Signal::JobOpened(JobNo(7)),
        Signal::JobWanted(JobNo(8)),
    ]);
    told.iter().cloned().for_each(|signal| a.tell(signal));
    assert_eq!(heard(&b, told.len()).await, told);
    assert_eq!(a.drain(1_000), told);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn whoever_lost_the_server_or_was_not_heard_says_so() {
    let mut server = Server::start(&[]).await;
    let config = config_at(&server.url());
    let (_a, _hub_a, a) = bus(&config).await;
    let (_b, _hub_b, b) = bus(&config).await;
    server.kill().await;
    a.tell(Signal::JobChanged(JobNo(1)));
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.run().await;
    let has_missed = |bus: &RedisBus| bus.drain(100).contains(&Signal::Missed);
    until(Duration::from_secs(10), || async { has_missed(&b) }).await;
    until(Duration::from_secs(10), || async { has_missed(&a) }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    b.drain(100);
    a.tell(Signal::JobChanged(JobNo(2)));
    assert_eq!(heard(&b, 1).await, [Signal::JobChanged(JobNo(2))]);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_queue_that_nobody_drains_stays_small_and_says_what_it_dropped() {
    let (_link, _hub, bus) = bus(&config()).await;
    for n in 0..10_000 {
        bus.tell(Signal::JobChanged(JobNo(n)));
    }
    let kept = bus.drain(100_000);
    assert!(kept.len() <= 4_097, "{}", kept.len());
    assert_eq!(kept[0], Signal::Missed);
    assert_eq!(kept.last(), Some(&Signal::JobChanged(JobNo(9_999))));
}
