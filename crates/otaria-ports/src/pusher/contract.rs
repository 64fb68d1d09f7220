//! Holds for every [`Pusher`], together with what writes for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::{DeviceId, JobNo, ModuleName, Version};
use otaria_core::task::TaskKey;
use otaria_core::time::Timestamp;

use super::{Notice, Offer, OfferedFile, Outcome, Pusher, Settled, SignMethod};

/// A pusher, and what a contract has to see of the world behind it.
///
/// Every contract wants a stage of its own: it counts what came back.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The pusher, on the side of those who send.
    fn pusher(&self) -> &dyn Pusher;

    /// The time of those who write.
    fn now(&self) -> Timestamp;

    /// Some device, by number from 1 to 9. Nobody is connected at first.
    fn device(&self, n: i64) -> DeviceId;

    /// Brings a device in, subscribed to its notices, and returns its session.
    async fn connect(&self, device: DeviceId) -> i64;

    /// Waits until that many outcomes have come back in all, and a little longer; returns all there are.
    async fn outcomes(&self, count: usize) -> Vec<Settled>;

    /// The wire ids that a device has read since it was asked last, in their order; waits for that many.
    async fn read(&self, device: DeviceId, count: usize) -> Vec<i64>;
}

const JOB: JobNo = JobNo(7);

/// A notice that is good from now on, well beyond the time that a contract takes.
fn notice(stage: &dyn Stage, device: DeviceId, session: i64, wire_id: u32) -> Notice {
    let file = OfferedFile {
        name: "a.bin".into(),
        url: "http://127.0.0.1/d/token".into(),
        size: 7,
        md5: "0cc175b9c0f1b6a831c399e269772661".into(),
        sha256: "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb".into(),
    };
    let offer = Offer {
        // A contract about notices needs any valid version.
        version: Version::parse("2.0.0").unwrap(),
        module: ModuleName::default_module(),
        files: vec![file],
        stream_id: None,
        sign_method: SignMethod::Md5,
        is_diff: false,
        udi: None,
        tags: Vec::new(),
    };
    Notice {
        key: TaskKey { device, job: JOB, seq: wire_id },
        attempt: 1,
        wire_id: i64::from(wire_id),
        session,
        shard: (device.shard(), 5),
        fence: 5,
        not_before: stage.now(),
        not_after: stage.now() + Duration::from_secs(20),
        terms: None,
        offer: Arc::new(offer),
    }
}

/// Sends, and returns what became of each notice, in the order sent. Each has exactly one outcome.
async fn sent(stage: &dyn Stage, before: usize, notices: Vec<Notice>) -> Vec<Outcome> {
    let keys: Vec<TaskKey> = notices.iter().map(|notice| notice.key.clone()).collect();
    stage.pusher().send(notices).await.unwrap();
    let all = stage.outcomes(before + keys.len()).await;
    assert_eq!(all.len(), before + keys.len(), "an outcome for each notice, and no more: {all:?}");
    let of = |key: &TaskKey| {
        let of: Vec<&Settled> = all.iter().filter(|settled| settled.key == *key).collect();
        assert_eq!(of.len(), 1, "{key:?} has one outcome");
        of[0].outcome
    };
    keys.iter().map(of).collect()
}

/// A notice for the device's session is read by the device, once, and said to be written.
pub async fn a_notice_reaches_its_device_once_and_is_said_to_be_written(stage: &dyn Stage) {
    let (one, two) = (stage.device(1), stage.device(2));
    let (first, second) = (stage.connect(one).await, stage.connect(two).await);
    let notices = vec![notice(stage, one, first, 11), notice(stage, two, second, 21)];
    assert_eq!(sent(stage, 0, notices).await, [Outcome::Written; 2]);
    assert_eq!(stage.read(one, 1).await, [11]);
    assert_eq!(stage.read(two, 1).await, [21]);
}

/// Who is not there, or came back since, is not written to.
pub async fn a_notice_for_nobody_is_gone_and_one_for_an_earlier_session_is_stale(stage: &dyn Stage) {
    let (there, away) = (stage.device(1), stage.device(2));
    let session = stage.connect(there).await;
    let notices = vec![notice(stage, away, 1, 21), notice(stage, there, session - 1, 11)];
    let outcomes = sent(stage, 0, notices).await;
    assert_eq!(outcomes[0], Outcome::Gone);
    // Where the sender knows the session as well as the writer, it may know that this one is gone.
    assert!(matches!(outcomes[1], Outcome::Stale | Outcome::Gone), "{outcomes:?}");
    assert_eq!(stage.read(there, 0).await, []);
}

/// What is late is not written.
pub async fn a_late_notice_is_stale(stage: &dyn Stage) {
    let device = stage.device(1);
    let session = stage.connect(device).await;
    let past = stage.now() - Duration::from_millis(1);
    let late = Notice { not_before: past, not_after: past, ..notice(stage, device, session, 11) };
    assert_eq!(sent(stage, 0, vec![late]).await, [Outcome::Stale]);
    assert_eq!(stage.read(device, 0).await, []);
}

/// Once a job's fence is raised, nothing older of the job is written; a fence is never lowered, and other jobs
/// do not care.
pub async fn behind_a_fence_nothing_older_is_written(stage: &dyn Stage) {
    let device = stage.device(1);
    let session = stage.connect(device).await;
    let good = |wire_id| notice(stage, device, session, wire_id);
    stage.pusher().fence(JOB, 6).await.unwrap();
    stage.pusher().fence(JOB, 3).await.unwrap();
    assert_eq!(sent(stage, 0, vec![good(11)]).await, [Outcome::Stale]);
    let raised = Notice { fence: 6, ..good(12) };
    assert_eq!(sent(stage, 1, vec![raised]).await, [Outcome::Written]);
    let mut other = good(13);
    other.key.job = JobNo(8);
    assert_eq!(sent(stage, 2, vec![other]).await, [Outcome::Written]);
    assert_eq!(stage.read(device, 2).await, [12, 13]);
}

/// Once a shard's epoch is raised, nothing is written that was claimed under an older lease.
pub async fn behind_an_epoch_nothing_older_is_written(stage: &dyn Stage) {
    let device = stage.device(1);
    let session = stage.connect(device).await;
    let good = |wire_id| notice(stage, device, session, wire_id);
    stage.pusher().epoch(device.shard(), 6).await.unwrap();
    stage.pusher().epoch(device.shard(), 3).await.unwrap();
    assert_eq!(sent(stage, 0, vec![good(11)]).await, [Outcome::Stale]);
    let raised = Notice { shard: (device.shard(), 6), ..good(12) };
    assert_eq!(sent(stage, 1, vec![raised]).await, [Outcome::Written]);
    assert_eq!(stage.read(device, 1).await, [12]);
}

/// Once a device's connection is ended, nothing is written to it, and others do not notice.
pub async fn who_is_closed_is_not_written_to(stage: &dyn Stage) {
    let (shut, other) = (stage.device(1), stage.device(2));
    let (first, second) = (stage.connect(shut).await, stage.connect(other).await);
    stage.pusher().close(shut).await.unwrap();
    let notices = vec![notice(stage, shut, first, 11), notice(stage, other, second, 21)];
    let outcomes = sent(stage, 0, notices).await;
    assert!(matches!(outcomes[0], Outcome::Gone | Outcome::Stale), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Written);
    assert_eq!(stage.read(shut, 0).await, []);
    assert_eq!(stage.read(other, 1).await, [21]);
}
