//! The one look right before a notice is written.
//!
//! A notice is decided in one place and written in another, some moments later. In between its job may be
//! cancelled, its shard may go to another owner, its device may come back in another session, or it may
//! simply be late. So every notice carries a [`Stamp`], and the gateway compares it with what it knows
//! and with a fresh clock.
//!
//! Invariant: once [`Fences::raise_job`] or [`Fences::raise_shard`] has returned, nothing older passes,
//! given that the caller checks and writes while it holds the fences (a read lock is enough).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use super::session::SessionSeq;
use crate::ids::JobNo;
use crate::shard::{SHARDS, Shard};
use crate::time::Timestamp;

/// After this time a job's fence may be forgotten: notices are dated at most 2 s ahead and valid for
/// 0.3 s, so whatever was claimed before the fence is late by then.
const KEPT: Duration = Duration::from_secs(60);

/// What a notice is checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The device's shard.
    pub shard: Shard,
    /// The epoch of the lease under which it was claimed.
    pub epoch: i64,
    /// Its job.
    pub job: JobNo,
    /// The job's fence when it was claimed.
    pub fence: u64,
    /// The session that it is meant for.
    pub session: SessionSeq,
    /// It may be written from this instant on.
    pub not_before: Timestamp,
    /// It may be written until before this instant.
    pub not_after: Timestamp,
}

/// Why a notice is not written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The device is not connected here.
    #[error("device is gone")]
    Gone,
    /// The device is connected in another session than the notice was meant for.
    #[error("meant for another session")]
    Stale,
    /// The job or the shard's lease moved on after the notice was claimed.
    #[error("claimed before a fence was raised")]
    Fenced,
    /// Its time is over.
    #[error("too late")]
    Late,
    /// Its time has not come; hold it.
    #[error("too early")]
    TooEarly,
}

/// The lowest stamps that still pass.
#[derive(Clone, Debug)]
pub struct Fences {
    jobs: BTreeMap<JobNo, (u64, Timestamp)>,
    shards: Box<[i64; SHARDS]>,
}

impl Default for Fences {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), shards: Box::new([i64::MIN; SHARDS]) }
    }
}

impl Fences {
    /// From now on notices of `job` need a fence of at least `fence`. Never lowers one.
    pub fn raise_job(&mut self, job: JobNo, fence: u64, now: Timestamp) {
        self.jobs.retain(|_, (_, raised_at)| now.since(*raised_at) < KEPT);
        match self.jobs.entry(job) {
            Entry::Occupied(mut known) => {
                let (lowest, raised_at) = known.get_mut();
                *lowest = fence.max(*lowest);
                *raised_at = now.max(*raised_at);
            }
            Entry::Vacant(unknown) => {
                unknown.insert((fence, now));
            }
        }
    }

    /// From now on notices of `shard` need at least `epoch`. Never lowers one.
    pub fn raise_shard(&mut self, shard: Shard, epoch: i64) {
        let lowest = &mut self.shards[usize::from(shard.0)];
        *lowest = epoch.max(*lowest);
    }

    /// Whether a notice may be written to the device's present session at this very instant.
    ///
    /// # Errors
    /// Says why not; [`Refusal::TooEarly`] only when nothing else stands against it.
    pub fn may_write(
        &self,
        stamp: &Stamp,
        current: Option<SessionSeq>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let current = current.ok_or(Refusal::Gone)?;
        if current != stamp.session {
            return Err(Refusal::Stale);
        }
        let job_fence = self.jobs.get(&stamp.job).map_or(0, |(lowest, _)| *lowest);
        if stamp.fence < job_fence || stamp.epoch < self.shards[usize::from(stamp.shard.0)] {
            return Err(Refusal::Fenced);
        }
        if now >= stamp.not_after {
            return Err(Refusal::Late);
        }
        if now < stamp.not_before {
            return Err(Refusal::TooEarly);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SESSION: SessionSeq = SessionSeq(5);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn stamp() -> Stamp {
        let (not_before, not_after) = (at(100), at(400));
        Stamp { shard: Shard(3), epoch: 7, job: JobNo(1), fence: 2, session: SESSION, not_before, not_after }
    }

    #[test]
    fn a_notice_is_written_only_within_its_time() {
        let fences = Fences::default();
        let look = |millis| fences.may_write(&stamp(), Some(SESSION), at(millis));
        assert_eq!(look(99), Err(Refusal::TooEarly));
        assert_eq!(look(100), Ok(()));
        assert_eq!(look(399), Ok(()));
        assert_eq!(look(400), Err(Refusal::Late));
    }

    #[test]
    fn a_notice_is_written_only_to_the_session_it_was_meant_for() {
        let fences = Fences::default();
        assert_eq!(fences.may_write(&stamp(), None, at(200)), Err(Refusal::Gone));
        assert_eq!(fences.may_write(&stamp(), Some(SessionSeq(6)), at(200)), Err(Refusal::Stale));
    }

    #[test]
    fn a_cancelled_job_stops_what_was_claimed_before() {
        let mut fences = Fences::default();
        fences.raise_job(JobNo(1), 3, at(150));
        assert_eq!(fences.may_write(&stamp(), Some(SESSION), at(200)), Err(Refusal::Fenced));
        let other_job = Stamp { job: JobNo(2), ..stamp() };
        let resumed = Stamp { fence: 3, ..stamp() };
        assert_eq!(fences.may_write(&other_job, Some(SESSION), at(200)), Ok(()));
        assert_eq!(fences.may_write(&resumed, Some(SESSION), at(200)), Ok(()));
    }

    #[test]
    fn a_shard_that_went_to_another_owner_stops_the_old_ones_notices() {
        let mut fences = Fences::default();
        fences.raise_shard(Shard(3), 8);
        assert_eq!(fences.may_write(&stamp(), Some(SESSION), at(200)), Err(Refusal::Fenced));
        let other_shard = Stamp { shard: Shard(4), ..stamp() };
        assert_eq!(fences.may_write(&other_shard, Some(SESSION), at(200)), Ok(()));
    }

    #[test]
    fn an_old_fence_is_forgotten_only_when_nothing_before_it_can_be_in_time() {
        let mut fences = Fences::default();
        fences.raise_job(JobNo(1), 3, at(0));
        fences.raise_job(JobNo(2), 1, at(59_000));
        assert!(fences.jobs.contains_key(&JobNo(1)));
        fences.raise_job(JobNo(2), 1, at(60_000));
        assert!(!fences.jobs.contains_key(&JobNo(1)));
    }

    /// By whichever clock it was raised last: what was claimed until then may still be on its way.
    #[test]
    fn a_fence_that_is_raised_again_is_kept_from_the_latest_time_on() {
        for raised in [[0, 30_000], [30_000, 0]] {
            let mut fences = Fences::default();
            for millis in raised {
                fences.raise_job(JobNo(1), 3, at(millis));
            }
            fences.raise_job(JobNo(2), 1, at(89_999));
            assert!(fences.jobs.contains_key(&JobNo(1)), "{raised:?}");
            fences.raise_job(JobNo(2), 1, at(90_000));
            assert!(!fences.jobs.contains_key(&JobNo(1)), "{raised:?}");
        }
    }

    proptest! {
        #[test]
        fn a_fence_never_falls(raises in prop::collection::vec((0_u8..20, 0_i64..1000), 1..20), fence in 0_u8..20) {
            let mut fences = Fences::default();
            for (to, when) in &raises {
                fences.raise_job(JobNo(1), u64::from(*to), at(*when));
                fences.raise_shard(Shard(3), i64::from(*to));
            }
            let highest = raises.iter().map(|(to, _)| *to).max().unwrap();
            // Each by itself: one of the two would hide what the other lets through.
            let of_the_job = Stamp { fence: u64::from(fence), epoch: i64::MAX, ..stamp() };
            let of_the_shard = Stamp { fence: u64::MAX, epoch: i64::from(fence), ..stamp() };
            for stamp in [of_the_job, of_the_shard] {
                let seen = fences.may_write(&stamp, Some(SESSION), at(200));
                prop_assert_eq!(seen.is_ok(), fence >= highest, "{:?}", stamp);
            }
        }
    }
}
