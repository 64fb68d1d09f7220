//! The pace of jobs, where everybody who pushes asks for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use otaria_core::ids::JobNo;
pub use otaria_core::pace::Emission;
use otaria_core::pace::{Micros, Pace as Gcra, PerMinute};
use otaria_core::time::Timestamp;

use crate::Unavailable;

/// A wish for tokens of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaceWish {
    /// The job.
    pub job: JobNo,
    /// Its limit.
    pub rate: PerMinute,
    /// Which of the job's limits that is; an older one is not taken over.
    pub rate_version: u64,
    /// Tokens wanted.
    pub want: u32,
    /// Whether the job has never been paced, by anyone: it may begin at once. Wrong only on the safe side.
    pub fresh: bool,
    /// When the job was made. Where several processes share the pace, `fresh` counts only for jobs that are
    /// younger than the shared state: what was paced before that was lost may be forgotten.
    pub created_at: Timestamp,
}

/// What a job was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Dated tokens, oldest first.
    pub emissions: Vec<Emission>,
    /// When more can be had.
    pub next_at: Timestamp,
    /// The limit under which they were granted: a later one than the wish knew of, perhaps.
    pub rate: PerMinute,
}

/// Hands out dated tokens: at most MaximumPerMinute in any half-open 60 s window at the devices (I1).
#[async_trait]
pub trait Pace: Send + Sync {
    /// Grants tokens, in the order of the wishes. Tokens that are not used are lost.
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable>;

    /// Forgets jobs that took nothing for two minutes or have ended. Where several processes share the pace
    /// another one may still use it, and nothing is forgotten by this.
    async fn forget(&self, jobs: &[JobNo]) -> Result<(), Unavailable>;
}

/// The pace of jobs in one process.
#[derive(Debug)]
pub struct LocalPace {
    jobs: Mutex<BTreeMap<JobNo, Gcra>>,
    horizon: Duration,
}

impl LocalPace {
    /// No job is known; tokens are dated up to `horizon` ahead.
    #[must_use]
    pub fn new(horizon: Duration) -> Self {
        Self { jobs: Mutex::default(), horizon }
    }
}

#[async_trait]
impl Pace for LocalPace {
    async fn take(&self, wishes: &[PaceWish], now: Timestamp) -> Result<Vec<Grant>, Unavailable> {
        let at = Micros::from_micros(now.millis().saturating_mul(1_000));
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let grants = wishes.iter().map(|wish| {
            let pace = jobs.entry(wish.job).or_insert_with(|| {
                if wish.fresh {
                    Gcra::new(wish.rate, wish.rate_version, at)
                } else {
                    Gcra::after_loss(wish.rate, wish.rate_version, at, self.horizon)
                }
            });
            pace.set_rate(wish.rate, wish.rate_version);
            let emissions = pace.take(at, wish.want, self.horizon);
            Grant { emissions, next_at: pace.next_at(self.horizon).ceil(), rate: pace.rate() }
        });
        Ok(grants.collect())
    }

    async fn forget(&self, ended: &[JobNo]) -> Result<(), Unavailable> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        for job in ended {
            jobs.remove(job);
        }
        Ok(())
    }
}

/// Holds for every [`Pace`] with a horizon of less than a minute.
pub mod contract {
    use super::{JobNo, Pace, PaceWish, PerMinute, Timestamp};

    fn wish(job: i64, want: u32) -> PaceWish {
        // 600 is above zero.
        let rate = PerMinute::new(600).unwrap();
        let created_at = Timestamp::from_millis(1_000_000);
        PaceWish { job: JobNo(job), rate, rate_version: 1, want, fresh: true, created_at }
    }

    /// Whoever asks again and again for two minutes never gets more than the limit for any 60 s.
    pub async fn no_minute_sees_more_than_the_limit(pace: &dyn Pace) {
        let mut dates = Vec::new();
        for step in 0..1_200 {
            let now = Timestamp::from_millis(1_000_000 + step * 100);
            for grant in pace.take(&[wish(1, 1_000)], now).await.unwrap() {
                for emission in grant.emissions {
                    dates.extend((0..emission.tokens).map(|_| emission.date.micros()));
                }
            }
        }
        let most = dates
            .iter()
            .enumerate()
            .map(|(from, first)| dates[from..].iter().take_while(|date| **date < first + 60_000_000).count());
        let most = most.max().unwrap_or(0);
        assert!((590..=600).contains(&most), "{most}");
    }

    /// Jobs do not share their tokens.
    pub async fn jobs_have_their_own_pace(pace: &dyn Pace) {
        let now = Timestamp::from_millis(1_000_000);
        let grants = pace.take(&[wish(2, 1), wish(3, 1)], now).await.unwrap();
        assert!(grants.iter().all(|grant| grant.emissions.iter().map(|e| e.tokens).sum::<u32>() == 1));
    }

    /// A wish that knows an older limit is granted under the later one, and told of it.
    pub async fn a_grant_says_its_limit(pace: &dyn Pace) {
        let now = Timestamp::from_millis(1_000_000);
        // 900 is above zero.
        let later = PaceWish { rate: PerMinute::new(900).unwrap(), rate_version: 2, ..wish(4, 1) };
        let grants = pace.take(&[wish(4, 1), later, wish(4, 1)], now).await.unwrap();
        assert_eq!(grants.iter().map(|grant| grant.rate.get()).collect::<Vec<_>>(), [600, 900, 900]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use otaria_core::pace::HORIZON_EMBEDDED;

    #[test]
    fn the_local_one_keeps_the_contract() {
        let pace = LocalPace::new(HORIZON_EMBEDDED);
        contract::no_minute_sees_more_than_the_limit(&pace).now_or_never().unwrap();
        contract::jobs_have_their_own_pace(&pace).now_or_never().unwrap();
        contract::a_grant_says_its_limit(&pace).now_or_never().unwrap();
    }

    /// A process that runs for years paces many jobs.
    #[test]
    fn a_job_that_is_forgotten_is_not_known_any_more_and_the_others_are() {
        let pace = LocalPace::new(HORIZON_EMBEDDED);
        let now = Timestamp::from_millis(1_000_000);
        let wish = |job| PaceWish {
            job: JobNo(job),
            rate: PerMinute::DEFAULT,
            rate_version: 1,
            want: 1,
            fresh: true,
            created_at: now,
        };
        pace.take(&[wish(1), wish(2)], now).now_or_never().unwrap().unwrap();
        pace.forget(&[JobNo(1)]).now_or_never().unwrap().unwrap();
        let known: Vec<JobNo> = pace.jobs.lock().unwrap().keys().copied().collect();
        assert_eq!(known, [JobNo(2)]);
    }
}
