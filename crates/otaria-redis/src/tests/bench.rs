use super::*;
use crate::*;
use otaria_core::ids::*;
use otaria_core::pace::*;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;
use otaria_ports::pace::{Pace, PaceWish};
use otaria_ports::presence::Presence;
use otaria_ports::pusher::*;
use otaria_core::task::TaskKey;
use tokio::time::Instant;
#[tokio::test(flavor = "multi_thread")]
#[ignore = "bench"]
async fn bench() {
    let config = config();
    let link = process(&config).await;
    let clock = SharedClock::start(&link);
    let pace = RedisPace::begin(link.clone(), HORIZON_CLUSTERED).await.unwrap();
    for jobs in [1, 16, 200] {
        let rate = PerMinute::new(10_000).unwrap();
        let wishes: Vec<_> = (0..jobs).map(|job| PaceWish { job: JobNo(job), rate, rate_version: 1, want: 50, fresh: false, created_at: Timestamp::EPOCH }).collect();
        let t = Instant::now();
        for _ in 0..300 { pace.take(&wishes, clock.now()).await.unwrap(); }
        println!("pace {jobs} jobs: {:?} a call", t.elapsed() / 300);
    }
    let presence = Arc::new(RedisPresence::new(link.clone(), Arc::clone(&clock) as _, Arc::default()));
    let owner = Arc::new(RedisPresence::new(process(&config).await, Arc::clone(&clock) as _, Arc::default()));
    owner.follow(&Shard::all().collect()).await.unwrap();
    let t = Instant::now();
    let n: usize = 20_000;
    let all: Vec<DeviceId> = (0..n as i64).map(|n| DeviceId::new(Shard((n % 256) as u8), n)).collect();
    for some in all.chunks(500) {
        futures_util::future::join_all(some.iter().map(|d| presence.connect(*d))).await.into_iter().for_each(|r| drop(r.unwrap()));
    }
    println!("{n} connects: {:?}", t.elapsed());
    let mut seen = 0;
    let mut sessions = std::collections::BTreeMap::new();
    while seen < n { for c in owner.changes(10_000).await.unwrap() { if let otaria_ports::presence::PresenceChange::Arrived(d, s) = c { seen += 1; sessions.insert(d, s); } } tokio::time::sleep(Duration::from_millis(1)).await; }
    println!("all followed: {:?}", t.elapsed());
    let t = Instant::now();
    let mut total = 0;
    for shard in Shard::all() { total += owner.snapshot(shard).await.unwrap().len(); }
    println!("256 snapshots, {total}: {:?}", t.elapsed());
    let local = Arc::new(KeptPusher::default());
    let hub = Hub::start(&link);
    GatewayMail::start(&link, &hub, Arc::clone(&presence), Arc::clone(&local) as _).await;
    let inbox = Arc::new(otaria_ports::inbox::KeptInbox::default());
    let pusher = RedisPusher::start(process(&config).await, &hub, HORIZON_CLUSTERED, Some(Dispatch { presence: owner, inbox, clock })).await;
    let offer = Arc::new(Offer { version: Version::parse("1").unwrap(), module: ModuleName::default_module(), files: vec![], stream_id: None, sign_method: SignMethod::Md5, is_diff: false, udi: None, tags: vec![] });
    let notices: Vec<Notice> = sessions.iter().map(|(d, s)| Notice { key: TaskKey { device: *d, job: JobNo(1), seq: 1 }, attempt: 1, wire_id: 1, session: *s, shard: (d.shard(), 1), fence: 0, not_before: Timestamp::EPOCH, not_after: Timestamp::EPOCH, offer: Arc::clone(&offer) }).collect();
    let t = Instant::now();
    for some in notices.chunks(1_000) { pusher.send(some.to_vec()).await.unwrap(); }
    let sent = t.elapsed();
    while local.notices.lock().unwrap().len() < n { tokio::time::sleep(Duration::from_millis(1)).await; }
    println!("{n} notices sent in {sent:?}, heard in {:?}", t.elapsed());
    let t = Instant::now();
    pusher.send(vec![notices[0].clone()]).await.unwrap();
    while local.notices.lock().unwrap().len() < n + 1 { tokio::task::yield_now().await; }
    println!("one notice: {:?}", t.elapsed());
}
