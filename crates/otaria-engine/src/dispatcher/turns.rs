//! A witness: jobs that want something and never get their turn (I21).
//!
//! Looks at how each batch is shared, not at why. Units that cannot be halved are dealt in turn, so whoever gets
//! none waits for as many batches as there are jobs at most; ten times that is no chance.
//!
//! Invariant: no false alarm. Whoever wants nothing, rests, or got a share is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::plan::Want;
use otaria_core::time::Timestamp;
use otaria_core::witness::{Broken, Invariant};

/// For so long at least.
const PATIENCE: Duration = Duration::from_secs(60);
/// So many batches in a row at least, and this many times the jobs.
const BATCHES: usize = 1_000;
const ROUNDS: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    passed_over: BTreeMap<JobNo, PassedOver>,
}

#[derive(Debug)]
struct PassedOver {
    since: Timestamp,
    batches: usize,
    told: bool,
}

impl Turns {
    /// A batch is shared so; `shares` is parallel to `wants`. Returns who has been passed over for too long,
    /// each once.
    pub(super) fn look(&mut self, wants: &[Want], shares: &[usize], now: Timestamp) -> Vec<(JobNo, Broken)> {
        let mut still = BTreeMap::new();
        let mut found = Vec::new();
        for (want, _) in wants.iter().zip(shares).filter(|(want, share)| want.ready > 0 && **share == 0) {
            let known = self.passed_over.remove(&want.job);
            let mut known = known.unwrap_or(PassedOver { since: now, batches: 0, told: false });
            known.batches = known.batches.saturating_add(1);
            let is_long = now.since(known.since) >= PATIENCE
                && known.batches > BATCHES.max(wants.len().saturating_mul(ROUNDS));
            if is_long && !known.told {
                known.told = true;
                let seen = format!(
                    "no turn in {} batches and {} s, with {} tasks ready beside {} jobs",
                    known.batches,
                    now.since(known.since).as_secs(),
                    want.ready,
                    wants.len() - 1
                );
                found.push((want.job, Broken::new(Invariant::Turn, seen)));
            }
            still.insert(want.job, known);
        }
        self.passed_over = still;
        found
    }
}

#[cfg(test)]
mod tests {
    use otaria_core::ids::AccountNo;
    use otaria_core::plan::share;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn wants(jobs: i64) -> Vec<Want> {
        (0..jobs).map(|job| Want { account: AccountNo(job % 3), job: JobNo(job), ready: 50 }).collect()
    }

    #[test]
    fn whoever_is_never_dealt_anything_is_told_once() {
        let (wants, mut turns) = (wants(3), Turns::default());
        let mut told = Vec::new();
        for batch in 0..2_000 {
            told.extend(
                turns.look(&wants, &[500, 0, 500], at(batch * 100)).into_iter().map(|told| (batch, told)),
            );
        }
        let [(1_000, (JobNo(1), Broken { invariant: Invariant::Turn, seen }))] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(seen, "no turn in 1001 batches and 100 s, with 50 tasks ready beside 2 jobs");
        // Many batches within a moment are no starvation yet.
        let mut turns = Turns::default();
        assert!((0..5_000).all(|batch| turns.look(&wants, &[1_000, 0, 0], at(batch)).is_empty()));
    }

    #[test]
    fn who_wants_nothing_is_not_passed_over() {
        let (mut wants, mut turns) = (wants(2), Turns::default());
        wants[1].ready = 0;
        assert!((0..5_000).all(|batch| turns.look(&wants, &[1_000, 0], at(batch * 100)).is_empty()));
    }

    #[test]
    fn one_share_in_between_is_enough() {
        let (wants, mut turns) = (wants(2), Turns::default());
        for batch in 0..10_000 {
            let share = usize::from(batch % 1_000 == 0);
            assert_eq!(turns.look(&wants, &[1_000, share], at(batch * 100)), []);
        }
    }

    #[test]
    fn shares_as_they_are_dealt_pass_nobody_over() {
        let (wants, mut turns) = (wants(40), Turns::default());
        for turn in 0..20_000_u64 {
            let shares = share(7, &wants, turn);
            assert_eq!(turns.look(&wants, &shares, at(turn.cast_signed() * 100)), []);
        }
    }
}
