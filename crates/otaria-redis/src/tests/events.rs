//! Events on their way to a gateway with listeners.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otaria_core::ids::{AccountNo, DeviceId, DeviceName, JobId, JobNo, ProductKey};
use otaria_core::job::JobStatus;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;
use otaria_ports::events::{Event, Events, Happened, KeptEvents};

use super::{config, process, until};
use crate::{EventsRelay, Hub, RedisEvents};

fn event(account: i64, what: Happened) -> Event {
    Event {
        account: AccountNo(account),
        product: ProductKey::parse("a1Le6d0abcd").unwrap(),
        job: JobId::parse("job1").unwrap(),
        job_no: JobNo(1),
        at: Timestamp::from_millis(1_790_000_000_123),
        what,
    }
}

fn task(revision: i64) -> Happened {
    Happened::Task {
        device: DeviceName::parse("dev_0001").unwrap(),
        device_id: DeviceId(1),
        previous: Some(TaskStatus::Queued),
        status: TaskStatus::InProgress,
        attempt: 2,
        percent: Some(40),
        revision,
        desc: Some("half way".to_owned()),
    }
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn a_gateway_with_listeners_gets_their_accounts_events_in_order() {
    let config = config();
    let (store, gateway) = (process(&config).await, process(&config).await);
    let (store_hub, gateway_hub) = (Hub::start(&store), Hub::start(&gateway));
    let events = RedisEvents::start(&store, &store_hub).await;
    let feed = Arc::new(KeptEvents::default());
    let lost = Arc::new(AtomicUsize::new(0));
    let losses = Arc::clone(&lost);
    let accounts = || vec![AccountNo(1)];
    let lose = move || {
        losses.fetch_add(1, Ordering::SeqCst);
    };
    EventsRelay::start(&gateway, &gateway_hub, Arc::clone(&feed) as _, accounts, lose).await;

    until(Duration::from_secs(10), || async { events.wanted(AccountNo(1)) }).await;
    assert!(!events.wanted(AccountNo(2)));
    let lost_before = lost.load(Ordering::SeqCst);
    let mut told: Vec<_> = (0..700).map(|n| event(1, task(n))).collect();
    told.push(event(1, Happened::Job { status: JobStatus::Completed }));
    for some in told.chunks(30) {
        events.publish(some.to_vec());
    }
    events.publish(vec![event(2, Happened::Job { status: JobStatus::Planned })]);
    let count = || feed.0.lock().unwrap().len();
    until(Duration::from_secs(10), || async { count() >= told.len() }).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(*feed.0.lock().unwrap(), told);
    assert_eq!(lost.load(Ordering::SeqCst), lost_before);
}

#[tokio::test]
#[ignore = "needs Redis: cargo xtask test runs it"]
async fn nobody_is_wanted_soon_after_the_last_listener_left() {
    let config = config();
    let (store, gateway) = (process(&config).await, process(&config).await);
    let (store_hub, gateway_hub) = (Hub::start(&store), Hub::start(&gateway));
    let events = RedisEvents::start(&store, &store_hub).await;
    let feed = Arc::new(KeptEvents::default());
    EventsRelay::start(&gateway, &gateway_hub, feed, || vec![AccountNo(1)], || {}).await;
    until(Duration::from_secs(10), || async { events.wanted(AccountNo(1)) }).await;
    drop((gateway, gateway_hub));
    until(Duration::from_secs(10), || async { !events.wanted(AccountNo(1)) }).await;
}
