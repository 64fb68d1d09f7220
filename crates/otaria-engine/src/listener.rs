//! What a process without a dispatcher does beside its calls: it hears what changes, and tells those who carry
//! jobs of hints that were left here.
//!
//! Invariant: nothing that it knows of jobs is older than a sweep. A signal can get lost without a word, and
//! nobody else would tell it again: a device that asks here would be answered by what was.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::time::Timestamp;

use crate::Wake;
use crate::shell::Shell;

/// Hints for jobs that other processes carry are gathered for so long.
const PASS_ON: Duration = Duration::from_millis(100);
/// Jobs are read anew this often, to repair whatever signal was lost.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);

/// See the module.
pub struct Listener {
    shell: Arc<Shell>,
    sweep_at: Timestamp,
}

impl Listener {
    /// A listener that knows nothing yet.
    #[must_use]
    pub fn new(shell: Arc<Shell>, now: Timestamp) -> Self {
        Self { shell, sweep_at: now + SWEEP_PERIOD }
    }

    /// Takes the news and passes hints on.
    pub fn tick(&mut self, now: Timestamp) -> Wake {
        self.shell.hear();
        self.shell.pass_on_hints();
        if self.sweep_at <= now {
            self.shell.book.forget_all();
            self.sweep_at = now + SWEEP_PERIOD;
        }
        Wake::At(now + PASS_ON)
    }
}
