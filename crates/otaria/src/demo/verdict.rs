//! Whether a demo adds up: what the seed makes us expect, what the devices saw, and what the server says.

use std::collections::BTreeSet;

use otaria_proto::v1::JobStatus;

use super::rollout::{ByName, Story};
use super::setup::DEST_VERSION;
use super::world::World;
use crate::fleet::{Fleet, MINUTE, Recorder, Temper, sum};

/// Names that are shown of a set that differs.
const NAMES_SHOWN: usize = 5;

/// What was compared, and what else was odd.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What, expected, found.
    rows: Vec<(&'static str, i128, i128)>,
    odd: Vec<String>,
    troubles: Vec<String>,
}

impl Verdict {
    pub(super) fn of(
        world: &World,
        fleet: &Fleet,
        story: &Story,
        by_name: &ByName,
        maximum_per_minute: u32,
    ) -> Self {
        let mut verdict = Self { troubles: fleet.recorder().troubles(), ..Self::default() };
        verdict.server(world, story);
        verdict.devices(world, fleet.recorder());
        verdict.both(world, fleet.recorder(), story, by_name);
        verdict.pace(fleet.recorder(), maximum_per_minute);
        verdict
    }

    fn row(&mut self, what: &'static str, expected: impl TryInto<i128>, found: impl TryInto<i128>) {
        // Everything that is counted here fits into 128 bits.
        self.rows.push((what, expected.try_into().unwrap_or(-1), found.try_into().unwrap_or(-2)));
    }

    /// The server's counts against what was drawn.
    fn server(&mut self, world: &World, story: &Story) {
        let expansion = story.job.expansion.clone().unwrap_or_default();
        let counts = story.job.task_counts.unwrap_or_default();
        let offline = i64::from(world.devices) - i64::try_from(world.online.len()).unwrap_or(0);
        self.row("lines of the list", world.devices, expansion.lines);
        self.row("tasks", world.devices, expansion.tasks);
        self.row(
            "tasks + skipped + rejected",
            expansion.lines,
            expansion.tasks + expansion.skipped + expansion.rejected,
        );
        self.row("busy", 0, expansion.busy);
        self.row("succeeded", world.good(), counts.succeeded);
        self.row("failed", world.failing + world.silent, counts.failed);
        self.row("canceled", offline, counts.canceled);
        let open = counts.confirm + counts.queued + counts.notified + counts.in_progress;
        self.row("tasks that are not final", 0, open);
        if !matches!(story.job.job_status(), JobStatus::Completed | JobStatus::Canceled) {
            self.odd(format!("the job is {:?}", story.job.job_status()));
        }
    }

    /// The devices' own record against what was drawn.
    fn devices(&mut self, world: &World, recorder: &Recorder) {
        let number = recorder.number_of(DEST_VERSION);
        let updated = recorder.count(|record| record.updated_to.contains(&number));
        let downloaded = recorder.count(|record| record.downloads > 0);
        self.row("devices that run the new version", world.good(), updated);
        self.row("devices with a right package", world.good(), downloaded);

        let tally = recorder.tally();
        let attempts = tally.attempts();
        let with = |wanted: usize| attempts.values().filter(|count| **count == wanted).count();
        self.row("devices that saw two attempts", world.failing, with(2));
        self.row("devices that saw one attempt", world.good() + world.silent, with(1));
        self.row("devices that saw any", world.online.len(), attempts.len());
        self.row("notices for another version", 0, tally.total() - tally.of_version(number).total());
        self.row("messages that were no notices", 0, sum(&recorder.totals.odd_messages));
        self.row("downloads that failed", 0, sum(&recorder.totals.download_failures));

        // A device that was cut off may be told again; any other repeat is a mistake.
        let reconnects: u64 = sum(&recorder.totals.lost);
        let repeats = u64::try_from(tally.repeats()).unwrap_or(u64::MAX);
        self.row("repeats that no reconnect explains", 0, repeats.saturating_sub(reconnects));
    }

    /// The devices' record against the server's.
    fn both(&mut self, world: &World, recorder: &Recorder, story: &Story, by_name: &ByName) {
        self.row("notices, by devices and by server", recorder.tally().total(), story.job.notices_written);
        let of = |is: fn(Temper) -> bool| -> BTreeSet<String> {
            let drawn = world.online.iter().filter(|(_, temper)| is(**temper));
            drawn.map(|(number, _)| World::name(*number)).collect()
        };
        self.names("succeeded", &of(|temper| temper == Temper::Good), &by_name.succeeded);
        self.names("failed", &of(|temper| temper != Temper::Good), &by_name.failed);
    }

    fn names(&mut self, what: &str, expected: &BTreeSet<String>, found: &BTreeSet<String>) {
        for (side, names) in [("missing", expected - found), ("unexpected", found - expected)] {
            if !names.is_empty() {
                let shown: Vec<_> = names.iter().take(NAMES_SHOWN).cloned().collect();
                self.odd(format!("{what}, {side}: {} devices, as {}", names.len(), shown.join(" ")));
            }
        }
    }

    fn pace(&mut self, recorder: &Recorder, maximum_per_minute: u32) {
        let most = recorder.tally().max_in_any(MINUTE);
        let allowed = usize::try_from(maximum_per_minute).unwrap_or(usize::MAX);
        self.row("notices beyond the pace in any 60 s", 0, most.saturating_sub(allowed));
    }

    /// Notes something that should not be.
    pub(super) fn odd(&mut self, what: String) {
        self.odd.push(what);
    }

    pub(super) fn is_fine(&self) -> bool {
        self.odd.is_empty() && self.rows.iter().all(|(_, expected, found)| expected == found)
    }

    /// Shows a good verdict in a sentence, a bad one as a table, on standard error.
    pub(super) fn show(&self) {
        if self.is_fine() {
            eprintln!("Everything adds up, as counted by the devices and as counted by the server.");
            eprintln!("Next: `otaria serve` runs a server to keep; `otaria --help` says how to go on.");
            return;
        }
        eprintln!("\nThis does not add up:\n  {:<40} {:>10} {:>10}", "", "expected", "found");
        for (what, expected, found) in self.rows.iter().filter(|(_, expected, found)| expected != found) {
            eprintln!("  {what:<40} {expected:>10} {found:>10}");
        }
        for what in &self.odd {
            eprintln!("  {what}");
        }
        for trouble in &self.troubles {
            eprintln!("  a device says: {trouble}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_differs_or_an_oddity_spoils_the_verdict() {
        let mut verdict = Verdict::default();
        verdict.row("a", 1_u32, 1_i64);
        assert!(verdict.is_fine());
        verdict.row("b", 1_usize, 2_i64);
        assert!(!verdict.is_fine());

        let mut verdict = Verdict::default();
        verdict.names("failed", &BTreeSet::from(["a".to_owned()]), &BTreeSet::from(["a".to_owned()]));
        assert!(verdict.is_fine());
        verdict.names("failed", &BTreeSet::from(["a".to_owned()]), &BTreeSet::from(["b".to_owned()]));
        assert_eq!(verdict.odd.len(), 2);
    }
}
