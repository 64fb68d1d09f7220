//! Readiness: whether this process should be given work now.
//!
//! A verdict is kept for a second, and one check runs at a time: a crowd that asks must not become a load on
//! the store and the disk that the check tries out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use otaria_core::time::Timestamp;
use otaria_ports::clock::Clock;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

const KEPT: Duration = Duration::from_secs(1);

/// Shorter than the patience of those who usually ask.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One thing that has to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What, in one word: `store`, `objects`, …
    pub name: &'static str,
    /// What is wrong with it, for an operator's eyes; `None` when all is well.
    pub trouble: Option<String>,
}

/// Tries everything out that has to work.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Vec<Check>> + Send + Sync>;

pub(crate) struct Readiness {
    check: ReadyCheck,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Timestamp, Vec<Check>)>>,
    draining: AtomicBool,
}

impl Readiness {
    pub(crate) fn new(check: ReadyCheck, clock: Arc<dyn Clock>) -> Self {
        Self { check, clock, last: Mutex::new(None), draining: AtomicBool::new(false) }
    }

    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether work is welcome, and why not, as JSON.
    pub(crate) async fn verdict(&self) -> (bool, Value) {
        if self.draining.load(Ordering::Relaxed) {
            return (false, json!({ "ready": false, "draining": true }));
        }
        let checks = self.checks().await;
        let ready = checks.iter().all(|check| check.trouble.is_none());
        let told =
            |check: Check| (check.name.to_owned(), check.trouble.unwrap_or_else(|| "ok".into()).into());
        let checks: Map<String, Value> = checks.into_iter().map(told).collect();
        (ready, json!({ "ready": ready, "draining": false, "checks": checks }))
    }

    async fn checks(&self) -> Vec<Check> {
        let mut last = self.last.lock().await;
        let now = self.clock.now();
        // A clock that was set back must not make a verdict last.
        if let Some((at, checks)) = last.as_ref().filter(|(at, _)| *at <= now && now.since(*at) < KEPT) {
            tracing::trace!(at = at.millis(), "readiness answered as before");
            return checks.clone();
        }

        let late = || vec![Check { name: "readiness", trouble: Some(format!("no answer in {TIMEOUT:?}")) }];
        let checks = tokio::time::timeout(TIMEOUT, (self.check)()).await.unwrap_or_else(|_| late());
        *last = Some((self.clock.now(), checks.clone()));
        checks
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use otaria_ports::clock::ManualClock;

    use super::*;

    fn counted(trouble: Option<&'static str>) -> (Arc<AtomicUsize>, Arc<ManualClock>, Readiness) {
        let asked = Arc::new(AtomicUsize::new(0));
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
        let counter = asked.clone();
        let check: ReadyCheck = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { vec![Check { name: "store", trouble: trouble.map(Into::into) }] })
        });
        (asked, clock.clone(), Readiness::new(check, clock))
    }

    #[tokio::test]
    async fn a_verdict_is_kept_for_a_second() {
        let (asked, clock, readiness) = counted(None);
        assert_eq!(
            readiness.verdict().await,
            (true, json!({ "ready": true, "draining": false, "checks": { "store": "ok" } }))
        );
        readiness.verdict().await;
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        clock.advance(Duration::from_secs(1));
        readiness.verdict().await;
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        clock.set(Timestamp::EPOCH);
        readiness.verdict().await;
        assert_eq!(asked.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn one_trouble_is_enough() {
        let (_, _, readiness) = counted(Some("disk full"));
        let (ready, told) = readiness.verdict().await;
        assert!(!ready);
        assert_eq!(told["checks"]["store"], "disk full");
    }

    #[tokio::test]
    async fn who_drains_wants_no_work_and_checks_nothing() {
        let (asked, _, readiness) = counted(None);
        readiness.drain();
        assert!(!readiness.verdict().await.0);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_a_trouble() {
        let clock = Arc::new(ManualClock::default());
        let readiness = Readiness::new(Arc::new(|| Box::pin(std::future::pending())), clock);
        assert!(!readiness.verdict().await.0);
    }
}
