//! The witness beside a gateway's door: it is told of every notice that was written.
//!
//! Sees what this gateway wrote and nothing else. Where several gateways share the devices of a job, each one's
//! count is a part: more than the limit at one of them is too much, whatever the others did.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{Broken, Invariant};
use crate::door::Stamp;
use crate::ids::JobNo;
use crate::job::Schedule;
use crate::pace::PerMinute;
use crate::shard::{SHARDS, Shard};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

/// A raised fence is watched for so long: a little less than the door remembers it. A notice claimed before is long
/// late by then.
const RAISED_FOR: Duration = Duration::from_secs(50);

/// Jobs followed at most. Beyond that, jobs that come later are not watched for their pace.
const JOBS_MAX: usize = 4_096;

/// What its job promises about a notice. Travels with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The limit in force when its token was granted.
    pub rate: PerMinute,
    /// When the job may deliver.
    pub schedule: Schedule,
}

/// What a gateway wrote lately.
#[derive(Debug)]
pub struct Writes {
    jobs: BTreeMap<JobNo, Minute>,
    fences: BTreeMap<JobNo, (u64, Timestamp)>,
    epochs: Box<[i64; SHARDS]>,
}

impl Default for Writes {
    fn default() -> Self {
        Self { jobs: BTreeMap::new(), fences: BTreeMap::new(), epochs: Box::new([i64::MIN; SHARDS]) }
    }
}

impl Writes {
    /// From this call on no notice of `job` with a smaller fence may be written.
    pub fn fence_raised(&mut self, job: JobNo, fence: u64, at: Timestamp) {
        self.fences.retain(|_, (_, raised_at)| at.since(*raised_at) < RAISED_FOR);
        let (lowest, raised_at) = self.fences.entry(job).or_insert((fence, at));
        if fence > *lowest {
            (*lowest, *raised_at) = (fence, at);
        }
    }

    /// From this call on no notice of `shard` with a smaller epoch may be written.
    pub fn epoch_raised(&mut self, shard: Shard, epoch: i64) {
        let lowest = &mut self.epochs[usize::from(shard.0)];
        *lowest = epoch.max(*lowest);
    }

    /// A notice was written; says what that breaks. `terms` are absent only when its sender is of an older
    /// release.
    pub fn wrote(&mut self, stamp: &Stamp, terms: Option<&Terms>, at: Timestamp) -> Vec<Broken> {
        let mut broken = Vec::new();
        if let Some((fence, raised_at)) = self.fences.get(&stamp.job)
            && stamp.fence < *fence
            && at.since(*raised_at) < RAISED_FOR
        {
            let seen = format!("written under fence {} when {fence} was raised", stamp.fence);
            broken.push(Broken::new(Invariant::Stopped, seen));
        }
        let known = self.epochs[usize::from(stamp.shard.0)];
        if stamp.epoch < known {
            let seen = format!("shard {} wrote under epoch {} after {known}", stamp.shard.0, stamp.epoch);
            broken.push(Broken::new(Invariant::Epoch, seen));
        }
        self.epoch_raised(stamp.shard, stamp.epoch);
        if let Some(terms) = terms {
            if !is_within(terms.schedule, at) {
                let seen = format!("written at {} outside {:?}", at.millis(), terms.schedule);
                broken.push(Broken::new(Invariant::Schedule, seen));
            }
            broken.extend(self.count(stamp.job, terms.rate, at));
        }
        broken
    }

    fn count(&mut self, job: JobNo, rate: PerMinute, at: Timestamp) -> Option<Broken> {
        if self.jobs.len() >= JOBS_MAX && !self.jobs.contains_key(&job) {
            self.jobs.retain(|_, minute| !minute.is_over(at));
        }
        let room = self.jobs.len() < JOBS_MAX;
        let minute = match self.jobs.entry(job) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) if room => unknown.insert(Minute::default()),
            Entry::Vacant(_) => return None,
        };
        let (written, limit) = minute.add(rate, at);
        (written > u64::from(limit)).then(|| {
            let seen = format!("{written} notices in a minute here, and the limit is {limit}");
            Broken::new(Invariant::Pace, seen)
        })
    }
}

/// Said here once more instead of asking the schedule.
fn is_within(schedule: Schedule, at: Timestamp) -> bool {
    schedule.start.is_none_or(|start| at >= start) && schedule.finish.is_none_or(|finish| at < finish)
}

/// One job's notices of the last 60 s: exact to the millisecond, and never longer than a minute has milliseconds.
#[derive(Debug, Default)]
struct Minute {
    /// Instants, earliest first, with the notices written then.
    writes: VecDeque<(Timestamp, u32)>,
    total: u64,
    /// Limits in force, with the last notice written under each.
    rates: Vec<(PerMinute, Timestamp)>,
}

impl Minute {
    fn is_over(&self, at: Timestamp) -> bool {
        self.writes.back().is_none_or(|(last, _)| at.since(*last) >= MINUTE)
    }

    /// Adds a notice; how many the window that ends with it holds, and the largest limit in it.
    fn add(&mut self, rate: PerMinute, at: Timestamp) -> (u64, u32) {
        while let Some((_, count)) = self.writes.front().filter(|(first, _)| at.since(*first) >= MINUTE) {
            self.total -= u64::from(*count);
            self.writes.pop_front();
        }
        self.rates.retain(|(known, last)| *known != rate && at.since(*last) < MINUTE);
        self.rates.push((rate, at));

        // Nearly always at the end; a clock that was set back by a little finds its place.
        let place = self.writes.iter().rposition(|(known, _)| *known <= at);
        match place.and_then(|place| self.writes.get_mut(place)) {
            Some((known, count)) if *known == at => *count = count.saturating_add(1),
            Some(_) | None => self.writes.insert(place.map_or(0, |place| place + 1), (at, 1)),
        }
        self.total += 1;
        let limit = self.rates.iter().map(|(rate, _)| rate.get()).max().unwrap_or(0);
        (self.total, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::door::SessionSeq;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn stamp(job: i64) -> Stamp {
        Stamp {
            shard: Shard(3),
            epoch: 7,
            job: JobNo(job),
            fence: 2,
            session: SessionSeq(1),
            not_before: at(0),
            not_after: at(300),
        }
    }

    fn terms(rate: u32) -> Terms {
        Terms { rate: PerMinute::new(rate).unwrap(), schedule: Schedule::default() }
    }

    fn found(broken: &[Broken]) -> Vec<Invariant> {
        broken.iter().map(|broken| broken.invariant).collect()
    }

    #[test]
    fn one_notice_more_than_the_limit_in_a_half_open_minute_is_seen() {
        let mut writes = Writes::default();
        for n in 0..10 {
            assert_eq!(writes.wrote(&stamp(1), Some(&terms(10)), at(n * 5)), []);
        }
        assert_eq!(found(&writes.wrote(&stamp(1), Some(&terms(10)), at(59_999))), [Invariant::Pace]);
        assert_eq!(writes.wrote(&stamp(2), Some(&terms(10)), at(59_999)), [], "another job's is its own");
    }

    #[test]
    fn a_full_minute_followed_by_the_next_is_no_violation() {
        let mut writes = Writes::default();
        for n in 0..200_i64 {
            assert_eq!(writes.wrote(&stamp(1), Some(&terms(10)), at(n * 6_000)), [], "{n}");
        }
        assert_eq!(writes.jobs[&JobNo(1)].writes.len(), 10, "only the last minute is kept");
    }

    #[test]
    fn where_the_limit_changed_the_largest_in_the_window_counts() {
        let mut writes = Writes::default();
        for n in 0..10 {
            assert_eq!(writes.wrote(&stamp(1), Some(&terms(10)), at(n)), []);
        }
        assert_eq!(writes.wrote(&stamp(1), Some(&terms(5)), at(60_000)), [], "the others just left");
        for n in 1..5 {
            assert_eq!(writes.wrote(&stamp(1), Some(&terms(5)), at(60_009 + n)), []);
        }
        assert_eq!(found(&writes.wrote(&stamp(1), Some(&terms(5)), at(60_020))), [Invariant::Pace]);
        assert_eq!(writes.wrote(&stamp(1), Some(&terms(10)), at(60_021)), [], "it was raised again");
    }

    #[test]
    fn a_limit_counts_for_as_long_as_its_notices() {
        let mut writes = Writes::default();
        assert_eq!(writes.wrote(&stamp(1), Some(&terms(5)), at(0)), []);
        assert_eq!(writes.wrote(&stamp(1), Some(&terms(1)), at(60_000)), []);
        assert_eq!(found(&writes.wrote(&stamp(1), Some(&terms(1)), at(60_000))), [Invariant::Pace]);
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_loses_no_notice() {
        let mut writes = Writes::default();
        for millis in [50, 40, 45, 50] {
            assert_eq!(writes.wrote(&stamp(1), Some(&terms(4)), at(millis)), []);
        }
        let kept: Vec<_> = writes.jobs[&JobNo(1)].writes.iter().map(|(at, n)| (at.millis(), *n)).collect();
        assert_eq!(kept, [(40, 1), (45, 1), (50, 2)]);
        assert_eq!(found(&writes.wrote(&stamp(1), Some(&terms(4)), at(60_039))), [Invariant::Pace]);
        assert_eq!(writes.wrote(&stamp(1), Some(&terms(5)), at(60_040)), []);
    }

    #[test]
    fn jobs_that_wrote_nothing_for_a_minute_make_room() {
        let mut writes = Writes::default();
        for job in 0..i64::try_from(JOBS_MAX).unwrap() {
            writes.wrote(&stamp(job), Some(&terms(1)), at(0));
        }
        assert_eq!(writes.wrote(&stamp(-1), Some(&terms(1)), at(1)), []);
        assert_eq!(writes.wrote(&stamp(-1), Some(&terms(1)), at(2)), [], "no room to follow it");
        writes.wrote(&stamp(-1), Some(&terms(1)), at(60_000));
        assert_eq!(writes.jobs.len(), 1);
    }

    #[test]
    fn what_is_written_below_a_raised_fence_is_seen() {
        let mut writes = Writes::default();
        writes.fence_raised(JobNo(1), 3, at(0));
        writes.fence_raised(JobNo(1), 1, at(0));
        assert_eq!(found(&writes.wrote(&stamp(1), None, at(0))), [Invariant::Stopped]);
        assert_eq!(writes.wrote(&Stamp { fence: 3, ..stamp(1) }, None, at(0)), []);
        assert_eq!(writes.wrote(&stamp(2), None, at(0)), []);
        assert_eq!(writes.wrote(&stamp(1), None, at(50_000)), [], "the door forgets it soon");
    }

    #[test]
    fn a_fence_is_watched_from_when_it_was_raised_to_where_it_is() {
        let below = |writes: &mut Writes, fence, millis| {
            found(&writes.wrote(&Stamp { fence, ..stamp(1) }, None, at(millis)))
        };
        let mut writes = Writes::default();
        writes.fence_raised(JobNo(1), 3, at(0));
        writes.fence_raised(JobNo(1), 3, at(40_000));
        assert_eq!(below(&mut writes, 2, 50_000), [], "it was raised at first, and not again");
        writes.fence_raised(JobNo(1), 5, at(45_000));
        assert_eq!(below(&mut writes, 4, 60_000), [Invariant::Stopped]);
        // What the door has forgotten may be told it anew.
        writes.fence_raised(JobNo(1), 5, at(95_000));
        assert_eq!(below(&mut writes, 4, 144_999), [Invariant::Stopped]);
    }

    #[test]
    fn an_epoch_that_writes_after_a_later_one_is_seen() {
        let mut writes = Writes::default();
        assert_eq!(writes.wrote(&stamp(1), None, at(0)), []);
        assert_eq!(writes.wrote(&Stamp { epoch: 8, ..stamp(2) }, None, at(1)), []);
        assert_eq!(found(&writes.wrote(&stamp(1), None, at(2))), [Invariant::Epoch], "nobody raised it");
        assert_eq!(writes.wrote(&Stamp { shard: Shard(4), ..stamp(1) }, None, at(2)), []);
        writes.epoch_raised(Shard(4), 9);
        assert_eq!(
            found(&writes.wrote(&Stamp { shard: Shard(4), ..stamp(1) }, None, at(3))),
            [Invariant::Epoch]
        );
    }

    #[test]
    fn what_is_written_outside_the_schedule_is_seen() {
        let schedule = Schedule { start: Some(at(100)), finish: Some(at(200)) };
        let terms = Terms { schedule, ..terms(10) };
        let look = |millis| found(&Writes::default().wrote(&stamp(1), Some(&terms), at(millis)));
        assert_eq!([look(100), look(199)], [[], []]);
        assert_eq!([look(99), look(200)], [[Invariant::Schedule], [Invariant::Schedule]]);
    }
}
