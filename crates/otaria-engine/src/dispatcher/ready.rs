//! One job's tasks that could be pushed now, in memory.
//!
//! First offers go in the order of the list; retries and redeliveries take turns with them, and repeats for
//! new sessions take turns with both: so none starves another, and while others want them repeats take at
//! most half of the tokens.

use std::collections::BTreeMap;

use otaria_core::ids::DeviceId;
use otaria_core::task::Want;
use otaria_core::time::Timestamp;
use otaria_ports::store::Task;

/// See the module. Keyed by the task's place in the job, so that a task is in here once.
#[derive(Debug, Default)]
pub(super) struct Ready {
    first: BTreeMap<u32, Task>,
    again: BTreeMap<u32, Task>,
    repeats: BTreeMap<u32, Task>,
    turn: u8,
    /// Until then the pace has nothing for the job.
    rests_until: Option<Timestamp>,
}

impl Ready {
    /// Takes a task that was read just now, in place of what was known of it. `is_told` says whether its
    /// notice was claimed for the device's present session. Answers when to look again, if that is known.
    pub(super) fn add(&mut self, task: Task, is_told: bool, now: Timestamp) -> Option<Timestamp> {
        let seq = task.key.seq;
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
