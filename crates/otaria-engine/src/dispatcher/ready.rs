//! One job's tasks that could be pushed now, in memory.
//!
//! First offers go in the order of the list, or spread over it ([`Order`]); retries and redeliveries take turns with them, and repeats for
//! new sessions take turns with both: so none starves another, and while others want them repeats take at
//! most half of the tokens.

use std::collections::BTreeMap;

use otaria_core::ids::DeviceId;
use otaria_core::task::{TaskKey, Want};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Member, Task};

/// In which order tasks of one kind go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// That of the list: neighbours in the store are claimed together.
    #[default]
    List,
    /// Spread over the list, and by each member in another way. A list is sorted by shard, so its order would keep
    /// the devices of a shard that changed hands waiting until the new owner is through with its own; and an order
    /// that all share, until it is as far as the old owner was, who may have had more of the tokens.
    Spread(Member),
}

impl Order {
    /// Where a task stands. No two of a job come to the same place: each step can be undone.
    fn place(self, seq: u32) -> u32 {
        match self {
            Self::List => seq,
            Self::Spread(member) => {
                // Members beyond 2^32 begin anew, which does no harm.
                let member = u32::try_from(member.0.rem_euclid(1 << 32)).unwrap_or_default();
                scatter(seq ^ scatter(member))
            }
        }
    }
}

/// Sends neighbours far apart: the last steps of MurmurHash3.
const fn scatter(mut n: u32) -> u32 {
    n ^= n >> 16;
    n = n.wrapping_mul(0x85eb_ca6b);
    n ^= n >> 13;
    n = n.wrapping_mul(0xc2b2_ae35);
    n ^ (n >> 16)
}

/// See the module. Keyed by the task's place in the order, so that a task is in here once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    order: Order,
    first: BTreeMap<u32, Task>,
    again: BTreeMap<u32, Task>,
    repeats: BTreeMap<u32, Task>,
    turn: u8,
    /// Until then the pace has nothing for the job.
    rests_until: Option<Timestamp>,
}

impl Ready {
    pub(super) fn new(order: Order) -> Self {
        Self { order, ..Self::default() }
    }

    /// Goes on in the order of those who share the shards now. Never back to the list's: whoever is left alone has
    /// just taken over what would stand behind its own there.
    pub(super) fn reorder(&mut self, order: Order) {
        if self.order == order || order == Order::List {
            return;
        }
        self.order = order;
        for kind in [&mut self.first, &mut self.again, &mut self.repeats] {
            let tasks = std::mem::take(kind).into_values();
            *kind = tasks.map(|task| (order.place(task.key.seq), task)).collect();
        }
    }

    /// Takes a task that was read just now, in place of what was known of it. `is_told` says whether its
    /// notice was claimed for the device's present session. Answers when to look again, if that is known.
    pub(super) fn add(&mut self, task: Task, is_told: bool, now: Timestamp) -> Option<Timestamp> {
        let seq = self.order.place(task.key.seq);
        for kind in [&mut self.first, &mut self.again, &mut self.repeats] {
            kind.remove(&seq);
        }
        match task.state.want(now) {
            Want::First => drop(self.first.insert(seq, task)),
            Want::Retry | Want::Redelivery => drop(self.again.insert(seq, task)),
            // One delivery of an offer a session: whoever stays connected has the notice.
            Want::Repeat(_) if is_told => {}
            Want::Repeat(from) if now < from => return Some(from),
            Want::Repeat(_) => drop(self.repeats.insert(seq, task)),
            Want::Nothing => {}
        }
        None
    }

    /// How many could go out now.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.again.len() + self.repeats.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this very task is in here.
    pub(super) fn has(&self, key: &TaskKey) -> bool {
        let place = self.order.place(key.seq);
        let kinds = [&self.first, &self.again, &self.repeats];
        kinds.into_iter().any(|kind| kind.get(&place).is_some_and(|task| task.key == *key))
    }

    /// Takes the task whose turn it is.
    pub(super) fn next(&mut self) -> Option<Task> {
        self.turn = self.turn.wrapping_add(1);
        let Self { first, again, repeats, turn, .. } = self;
        let order = match *turn % 4 {
            0 => [first, again, repeats],
            2 => [again, first, repeats],
            _ => [repeats, first, again],
        };
        order.into_iter().find_map(|kind| kind.pop_first()).map(|(_, task)| task)
    }

    /// Gives up, and names the devices to be looked at again.
    pub(super) fn into_devices(self) -> impl Iterator<Item = DeviceId> {
        let tasks = [self.first, self.again, self.repeats].into_iter().flat_map(BTreeMap::into_values);
        tasks.map(|task| task.key.device)
    }

    /// Leaves the pace alone until then.
    pub(super) fn rest_until(&mut self, until: Timestamp) {
        self.rests_until = Some(until);
    }

    /// Until when the job rests, if it does.
    pub(super) fn resting(&self, now: Timestamp) -> Option<Timestamp> {
        self.rests_until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use otaria_core::ids::{JobNo, ModuleName};
    use otaria_core::shard::Shard;
    use otaria_core::task::{Attempt, Delivery, ReportOrder, Retry, TaskState};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn task(seq: u32, state: TaskState) -> Task {
        Task {
            key: TaskKey { device: DeviceId::new(Shard(1), i64::from(seq)), job: JobNo(1), seq },
            module: ModuleName::default_module(),
            state,
            revision: 1,
            report: ReportOrder::default(),
            notices: 0,
            src_version: None,
            desc: None,
            created_at: at(0),
            modified_at: at(0),
        }
    }

    fn notified(delivery: Delivery) -> TaskState {
        let attempt = Attempt { number: 1, offered_at: at(0) };
        TaskState::Notified { attempt, delivery, offer_deadline: None, retry: Retry::None }
    }

    fn written() -> TaskState {
        notified(Delivery::Written { at: at(0) })
    }

    #[test]
    fn repeats_take_half_of_the_tokens_while_others_want_them() {
        let mut ready = Ready::default();
        for seq in 0..300 {
            let state = [written(), TaskState::Queued, notified(Delivery::Wanted)][seq as usize % 3].clone();
            assert_eq!(ready.add(task(seq, state), false, at(100)), None);
        }
        let taken: Vec<u32> = std::iter::from_fn(|| ready.next()).map(|task| task.key.seq % 3).collect();
        let among_first_100 = |kind| taken[..100].iter().filter(|of| **of == kind).count();
        assert_eq!([0, 1, 2].map(among_first_100), [50, 25, 25]);
        assert_eq!(taken.len(), 300);
    }

    #[test]
    fn places_are_scattered_as_by_murmur_hash_3() {
        // Of nothing, with these seeds: as published with the function.
        assert_eq!([0, 1, u32::MAX].map(scatter), [0, 0x514e_28b7, 0x81f1_6f39]);
        assert_eq!(Order::List.place(7), 7);
    }

    #[test]
    fn a_job_rests_until_its_instant_and_gives_up_all_it_has() {
        let mut ready = Ready::default();
        assert_eq!(ready.resting(at(0)), None);
        ready.rest_until(at(10));
        assert_eq!([9, 10, 11].map(|now| ready.resting(at(now))), [Some(at(10)), None, None]);
        assert!(ready.is_empty());
        for (seq, state) in [(1, TaskState::Queued), (2, notified(Delivery::Wanted)), (3, written())] {
            ready.add(task(seq, state), false, at(100));
        }
        assert!(!ready.is_empty());
        let devices: Vec<DeviceId> = ready.into_devices().collect();
        assert_eq!(devices, [1, 2, 3].map(|seq| DeviceId::new(Shard(1), seq)));
    }

    fn spread(member: i64, seqs: impl IntoIterator<Item = u32>) -> Ready {
        let mut ready = Ready::new(Order::Spread(Member(member)));
        for seq in seqs {
            ready.add(task(seq, TaskState::Queued), false, at(0));
        }
        ready
    }

    fn take(ready: &mut Ready, most: usize) -> Vec<u32> {
        std::iter::from_fn(|| ready.next()).take(most).map(|task| task.key.seq).collect()
    }

    #[test]
    fn spread_tasks_come_from_all_over_the_list_and_each_once() {
        for member in [1, 2, 3, 255, i64::from(u32::MAX), i64::MAX, i64::MIN] {
            let mut taken = take(&mut spread(member, 1..=4_000), 4_000);
            for tenth in 0..10 {
                let from = tenth * 400;
                let early = taken[..400].iter().filter(|seq| (from + 1..=from + 400).contains(*seq)).count();
                assert!((20..=64).contains(&early), "{early} of the first 400 are from the {tenth}th tenth");
            }
            taken.sort_unstable();
            assert!(taken.into_iter().eq(1..=4_000));
        }
    }

    #[test]
    fn who_takes_over_another_s_tasks_begins_with_them_at_once() {
        for (dead, heir) in [(1, 2), (2, 3), (3, 1), (1, 4), (7, 8)] {
            let mut before = spread(dead, 1..=800);
            let mut after = spread(heir, 801..=2_400);
            // However much further than its heir a dispatcher was.
            take(&mut before, 400);
            take(&mut after, 320);
            while let Some(task) = before.next() {
                after.add(task, false, at(10));
            }
            let next = take(&mut after, 60);
            let taken_over = next.iter().filter(|seq| **seq <= 800).count();
            assert!(taken_over >= 30, "{taken_over} of the next 60 were taken over");
            assert!(next[..5].iter().any(|seq| *seq <= 800), "{next:?}");
        }
    }

    #[test]
    fn who_owned_everything_alone_shares_the_order_of_those_who_came() {
        let mut alone = Ready::new(Order::List);
        for seq in 1..=800 {
            alone.add(task(seq, TaskState::Queued), false, at(0));
        }
        alone.add(task(801, written()), false, at(100));
        alone.reorder(Order::Spread(Member(3)));
        for seq in 1_001..=1_800 {
            alone.add(task(seq, TaskState::Queued), false, at(0));
        }
        assert_eq!(alone.len(), 1_601);
        let next = take(&mut alone, 100);
        let late = next.iter().filter(|seq| **seq > 1_000).count();
        assert!((30..=70).contains(&late), "{late} of the next 100 came later");
        assert!(next.contains(&801), "repeats keep their turn");
        alone.reorder(Order::List);
        assert_eq!(alone.order, Order::Spread(Member(3)));
        let mut all = [next, take(&mut alone, 2_000)].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq((1..=801).chain(1_001..=1_800)));
    }

    #[test]
    fn a_repeat_waits_for_its_time_and_for_another_session() {
        let mut ready = Ready::default();
        assert_eq!(ready.add(task(1, written()), false, at(59)), Some(at(60)));
        assert_eq!(ready.add(task(1, written()), true, at(60)), None);
        assert!(ready.is_empty());
        assert_eq!(ready.add(task(1, written()), false, at(60)), None);
        assert_eq!(ready.len(), 1);
    }

    #[test]
    fn a_task_that_was_read_again_stands_where_it_belongs_now() {
        let mut ready = Ready::default();
        ready.add(task(1, TaskState::Queued), false, at(0));
        ready.add(task(1, notified(Delivery::Wanted)), false, at(0));
        assert_eq!(ready.len(), 1);
        ready.add(task(1, notified(Delivery::Fetched)), false, at(0));
        assert!(ready.is_empty());
    }
}
