//! How a demo shows what it is doing: a line for each step that is done, bars on a terminal. All of it goes
//! to standard error.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};

use crate::cli::output::{bar, with_template};
use crate::stopwatch::Stopwatch;

pub(super) struct Stage {
    bars: MultiProgress,
}

/// A step that was begun.
pub(super) struct Step<'stage> {
    stage: &'stage Stage,
    begun: Stopwatch,
    pub(super) bar: ProgressBar,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { bars: MultiProgress::new() }
    }

    /// Says something for good.
    pub(super) fn say(&self, text: &str) {
        self.bars.suspend(|| eprintln!("{text}"));
    }

    /// Begins a step whose length is not known.
    pub(super) fn begin(&self, doing: &'static str) -> Step<'_> {
        let bar = with_template(ProgressBar::new_spinner(), "{spinner} {msg}").with_message(doing);
        bar.enable_steady_tick(Duration::from_millis(100));
        Step { stage: self, begun: Stopwatch::start(), bar: self.bars.add(bar) }
    }

    /// Begins a step over `total` things.
    pub(super) fn begin_over(&self, total: u64, doing: &'static str) -> Step<'_> {
        Step { stage: self, begun: Stopwatch::start(), bar: self.bars.add(bar(total, doing)) }
    }
}

impl Step<'_> {
    /// The step is done: its bar makes way for a line.
    pub(super) fn done(self, what: &str) {
        let seconds = self.begun.seconds();
        self.gone();
        self.stage.say(&format!("✓ {what:<56} {seconds:>7.2} s"));
    }

    /// The step's bar goes without a word.
    pub(super) fn gone(&self) {
        self.bar.finish_and_clear();
        self.stage.bars.remove(&self.bar);
    }
}
