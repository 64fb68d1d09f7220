//! Wake-ups between the parts of the engine. A lost signal costs time, never a device: sweeps repair it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use otaria_core::ids::{DeviceId, JobNo};

use crate::bell::Bell;

/// News for the dispatcher that owns the devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Tasks that may be pushed were committed for these devices.
    TasksReady {
        /// Of which job.
        job: JobNo,
        /// Sorted.
        devices: Vec<DeviceId>,
    },
    /// A job changed or ended: read it again before anything is done for it.
    JobChanged(JobNo),
    /// A job may deliver that could not before (it begins, or goes on after a pause): read it again, and
    /// look at the tasks of everybody online.
    JobOpened(JobNo),
    /// A job wants to be expanded, begun, ended or cancelled by whoever carries it: see the engine's `ownership`.
    JobWanted(JobNo),
    /// Signals may have been lost on the way: read everything again, and look at everybody online.
    Missed,
}

/// Carries signals.
pub trait Bus: Send + Sync {
    /// Tells whoever listens. Never waits; may drop the oldest news when nobody listens.
    fn tell(&self, signal: Signal);

    /// News since the last call, oldest first, at most `max`.
    fn drain(&self, max: usize) -> Vec<Signal>;
}

/// How many signals are kept; beyond that the oldest go, and the next sweep finds what they told.
const KEPT: usize = 4_096;

/// The bus in one process.
#[derive(Debug)]
pub struct LocalBus {
    queue: Mutex<VecDeque<Signal>>,
    bell: Arc<Bell>,
}

impl LocalBus {
    /// An empty bus; `bell` rings at every signal.
    #[must_use]
    pub fn new(bell: Arc<Bell>) -> Self {
        Self { queue: Mutex::default(), bell }
    }
}

impl Bus for LocalBus {
    fn tell(&self, signal: Signal) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == KEPT {
            queue.pop_front();
        }
        queue.push_back(signal);
        drop(queue);
        self.bell.ring();
    }

    fn drain(&self, max: usize) -> Vec<Signal> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let count = max.min(queue.len());
        queue.drain(..count).collect()
    }
}

/// Holds for every [`Bus`].
pub mod contract {
    use super::{Bus, JobNo, Signal};

    /// What is told is drained once, in order.
    pub fn signals_arrive_once_and_in_order(bus: &dyn Bus) {
        let told: Vec<_> = (1..=3).map(|n| Signal::JobChanged(JobNo(n))).collect();
        told.iter().cloned().for_each(|signal| bus.tell(signal));
        assert_eq!(bus.drain(2), told[..2]);
        assert_eq!(bus.drain(10), told[2..]);
        assert_eq!(bus.drain(10), []);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_one_keeps_the_contract() {
        contract::signals_arrive_once_and_in_order(&LocalBus::new(Arc::default()));
    }
}
