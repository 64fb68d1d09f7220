//! Notices that wait for their date.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use otaria_core::door::Latest;
use otaria_core::time::Timestamp;
use otaria_ports::pusher::Notice;

/// Notices by the time at which to look at them; equal times keep the order in which they were held.
#[derive(Default)]
pub(crate) struct Held {
    heap: BinaryHeap<Reverse<Waiting>>,
    count: u64,
    latest: Latest,
}

/// A notice whose time has come.
pub(crate) enum Due {
    /// To be looked at.
    Now(Notice),
    /// Not to be written: its task was replaced, and the other's notice is here.
    Overtaken(Notice),
}

struct Waiting {
    at: Timestamp,
    count: u64,
    notice: Notice,
}

impl Held {
    pub(crate) fn hold(&mut self, at: Timestamp, notice: Notice) {
        self.count += 1;
        self.latest.came(notice.key.device, &notice.offer.module, notice.key.job, notice.wire_id);
        self.heap.push(Reverse(Waiting { at, count: self.count, notice }));
    }

    /// When to look at the next one.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(waiting)| waiting.at)
    }

    pub(crate) fn pop(&mut self) -> Option<Due> {
        let Reverse(Waiting { notice, .. }) = self.heap.pop()?;
        let is_overtaken = self.latest.left(notice.key.device, &notice.offer.module, notice.key.job);
        Some(if is_overtaken { Due::Overtaken(notice) } else { Due::Now(notice) })
    }

    /// All of them, in no order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Notice> {
        self.latest = Latest::default();
        std::mem::take(&mut self.heap).into_iter().map(|Reverse(waiting)| waiting.notice)
    }
}

impl Waiting {
    fn order(&self) -> (Timestamp, u64) {
        (self.at, self.count)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.order() == other.order()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.order().cmp(&other.order())
    }
}
