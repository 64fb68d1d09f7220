//! Shares what can be sent now between accounts, and in each account between its jobs.
//!
//! Pure: knows neither tasks nor devices, only how many are ready.
//!
//! Invariant: max-min fair. Nobody gets more than is ready, nothing is left while somebody wants more, and
//! whoever wants more gets as much as everybody else who does, but for one odd unit.
//!
//! The odd units are dealt like cards: a turn begins behind the one that the turn before ended with. So when
//! [`share`] is called with growing turns over the same wants, odd units even out and nobody starves, even
//! where there are fewer units than jobs.

use crate::ids::{AccountNo, JobNo};

/// What one job could send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Whose job it is.
    pub account: AccountNo,
    /// The job.
    pub job: JobNo,
    /// Its tasks that are ready.
    pub ready: usize,
}

/// Shares `capacity` units; the answer is parallel to `wants`.
///
/// `turn` grows by one with each call and decides only who gets the odd units. The order of `wants` does not
/// matter.
#[must_use]
pub fn share(capacity: usize, wants: &[Want], turn: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).filter(|want| wants[*want].ready > 0).collect();
    order.sort_by_key(|want| (wants[*want].account, wants[*want].job));
    let accounts: Vec<&[usize]> = order.chunk_by(|a, b| wants[*a].account == wants[*b].account).collect();
    let demands: Vec<Vec<usize>> =
        accounts.iter().map(|jobs| jobs.iter().map(|job| wants[*job].ready).collect()).collect();
    let totals: Vec<usize> =
        demands.iter().map(|jobs| jobs.iter().fold(0_usize, |a, b| a.saturating_add(*b))).collect();

    let mut shares = vec![0; wants.len()];
    let outer = Level::of(capacity, &totals);
    let dealt = u128::from(turn) * outer.odd as u128;
    for (account, jobs) in accounts.iter().enumerate() {
        let inner = Level::of(outer.units(account, totals[account], dealt), &demands[account]);
        let dealt = inner.odd_of(turn, outer.floor, outer.odd_before(account, dealt));
        for (place, job) in jobs.iter().enumerate() {
            shares[*job] = inner.units(place, wants[*job].ready, dealt);
        }
    }
    shares
}

/// How far a capacity reaches: claimants that want no more than the floor get what they want, the others
/// get the floor, and `odd` of them one unit more.
struct Level {
    floor: usize,
    odd: usize,
    /// What goes to those who get all they want.
    content: usize,
    /// Those who want more than the floor, ascending.
    hungry: Vec<usize>,
}

impl Level {
    fn of(capacity: usize, demands: &[usize]) -> Self {
        let mut hungry: Vec<usize> = (0..demands.len()).collect();
        hungry.sort_unstable_by_key(|claimant| std::cmp::Reverse(demands[*claimant]));
        let mut rest = capacity;
        while let Some(least) = hungry.last().map(|claimant| demands[*claimant]) {
            if least > rest / hungry.len() {
                break;
            }
            rest -= least;
            hungry.pop();
        }
        hungry.sort_unstable();
        let among = hungry.len().max(1);
        Self {
            floor: rest / among,
            odd: if hungry.is_empty() { 0 } else { rest % among },
            content: capacity - rest,
            hungry,
        }
    }

    /// What a claimant gets when `dealt` odd units were dealt before.
    fn units(&self, claimant: usize, demand: usize, dealt: u128) -> usize {
        let Ok(place) = self.hungry.binary_search(&claimant) else { return demand };
        let among = self.hungry.len() as u128;
        let behind_first = (place as u128 + among - dealt % among) % among;
        self.floor + usize::from(behind_first < self.odd as u128)
    }

    /// How many of the `dealt` odd units a claimant got.
    fn odd_before(&self, claimant: usize, dealt: u128) -> u128 {
        let Ok(place) = self.hungry.binary_search(&claimant) else { return 0 };
        let among = self.hungry.len() as u128;
        (dealt + among - 1 - place as u128) / among
    }

    /// How many odd units this level dealt, but for whole rounds, when in each of `turns` turns `floor` units
    /// came, and `extra` more in all.
    fn odd_of(&self, turns: u64, floor: usize, extra: u128) -> u128 {
        let among = self.hungry.len().max(1) as u128;
        let (floor, content) = (floor as u128, self.content as u128 % among);
        u128::from(turns) % among * (floor + among - content) + extra
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wants(rows: &[(i64, i64, usize)]) -> Vec<Want> {
        rows.iter()
            .map(|(account, job, ready)| Want {
                account: AccountNo(*account),
                job: JobNo(*job),
                ready: *ready,
            })
            .collect()
    }

    #[test]
    fn a_large_job_leaves_room_for_small_ones() {
        let wants = wants(&[(1, 1, 1_000_000), (1, 2, 5), (2, 3, 40), (3, 4, 1_000_000)]);
        assert_eq!(share(100, &wants, 0), [29, 5, 33, 33]);
    }

    #[test]
    fn many_jobs_do_not_buy_an_account_more() {
        let mut rows = vec![(1, 1, 100)];
        rows.extend((2..=11).map(|job| (2, job, 100)));
        let shares = share(100, &wants(&rows), 0);
        assert_eq!((shares[0], shares[1..].iter().sum::<usize>()), (50, 50));
    }

    #[test]
    fn one_unit_goes_round_all_jobs() {
        let wants = wants(&[(1, 1, 9), (1, 2, 9), (2, 3, 9), (2, 4, 9)]);
        let first: Vec<usize> =
            (0..8).map(|turn| share(1, &wants, turn).iter().position(|n| *n == 1).unwrap()).collect();
        assert_eq!(first, [0, 2, 1, 3, 0, 2, 1, 3]);
    }

    /// What contented jobs take comes off each turn before odd units are dealt.
    #[test]
    fn an_odd_unit_goes_round_also_beside_a_job_that_has_enough() {
        let wants = wants(&[(1, 1, 1), (1, 2, 90), (1, 3, 90), (1, 4, 90)]);
        let turns = (0..3).map(|turn| share(5, &wants, turn));
        assert_eq!(turns.collect::<Vec<_>>(), [[1, 2, 1, 1], [1, 1, 2, 1], [1, 1, 1, 2]]);
    }

    #[test]
    fn nothing_to_share_or_nobody_to_share_with() {
        assert_eq!(share(0, &wants(&[(1, 1, 5)]), 3), [0]);
        assert_eq!(share(5, &[], 3), []);
        assert_eq!(share(5, &wants(&[(1, 1, 0)]), 3), [0]);
        let huge = wants(&[(1, 1, usize::MAX), (1, 2, usize::MAX), (2, 3, usize::MAX)]);
        assert_eq!(share(usize::MAX, &huge, u64::MAX).iter().sum::<usize>(), usize::MAX);
    }

    fn any_wants() -> impl Strategy<Value = Vec<Want>> {
        let row = (0_i64..6, prop_oneof![Just(0), 1_usize..10, 1_usize..2_000]);
        proptest::collection::vec(row, 0..20).prop_map(|rows| {
            let number = |(job, (account, ready))| (account, i64::try_from(job).unwrap(), ready);
            wants(&rows.into_iter().enumerate().map(number).collect::<Vec<_>>())
        })
    }

    fn total_of(account: AccountNo, wants: &[Want], of: &[usize]) -> usize {
        wants.iter().zip(of).filter(|(want, _)| want.account == account).map(|(_, n)| n).sum()
    }

    proptest! {
        #[test]
        fn everything_is_used_and_nobody_gets_too_much(
            capacity in 0_usize..3_000, wants in any_wants(), turn in any::<u64>(),
        ) {
            let shares = share(capacity, &wants, turn);
            let ready: usize = wants.iter().map(|want| want.ready).sum();
            prop_assert_eq!(shares.iter().sum::<usize>(), capacity.min(ready));
            prop_assert!(wants.iter().zip(&shares).all(|(want, share)| *share <= want.ready));
        }

        #[test]
        fn whoever_wants_more_gets_no_less_than_anybody(
            capacity in 0_usize..3_000, wants in any_wants(), turn in any::<u64>(),
        ) {
            let shares = share(capacity, &wants, turn);
            let ready: Vec<usize> = wants.iter().map(|want| want.ready).collect();
            let mut accounts: Vec<AccountNo> = wants.iter().map(|want| want.account).collect();
            accounts.sort_unstable();
            accounts.dedup();
            for (place, want) in wants.iter().enumerate() {
                let account = total_of(want.account, &wants, &shares);
                if account < total_of(want.account, &wants, &ready) {
                    prop_assert!(account >= capacity / accounts.len());
                    for other in &accounts {
                        prop_assert!(account + 1 >= total_of(*other, &wants, &shares));
                    }
                }
                if shares[place] < want.ready {
                    let rivals = wants.iter().zip(&shares).filter(|(rival, _)| rival.account == want.account);
                    for (_, rival) in rivals {
                        prop_assert!(shares[place] + 1 >= *rival);
                    }
                }
            }
        }

        #[test]
        fn the_order_of_the_wants_does_not_matter(
            capacity in 0_usize..3_000, wants in any_wants(), turn in any::<u64>(), by in 0_usize..20,
        ) {
            let mut moved = wants.clone();
            let by = by.min(wants.len());
            moved.rotate_left(by);
            let mut shares = share(capacity, &wants, turn);
            shares.rotate_left(by);
            prop_assert_eq!(share(capacity, &moved, turn), shares);
        }

        #[test]
        fn in_the_long_run_the_parts_are_equal_and_nobody_starves(
            capacity in 1_usize..50, accounts in 1_i64..6, jobs in 1_i64..6, turn in 0..u64::MAX / 2,
        ) {
            let rows: Vec<_> =
                (0..accounts).flat_map(|a| (0..jobs).map(move |j| (a, a * jobs + j, 1_000))).collect();
            let wants = wants(&rows);
            let turns = u64::try_from(rows.len()).unwrap();
            let mut sums = vec![0; rows.len()];
            for turn in turn..turn + turns {
                for (sum, share) in sums.iter_mut().zip(share(capacity, &wants, turn)) {
                    *sum += share;
                }
            }
            prop_assert!(sums.iter().all(|sum| *sum == capacity), "{sums:?}");
        }
    }
}
