//! The names of keys and channels. What one script touches lies in one hash tag (the braces), so that it is
//! on one server of a cluster.

use otaria_core::ids::{AccountNo, JobNo};
use otaria_core::shard::Shard;

/// Pace is kept in so many units, each with an incarnation of its own.
pub(crate) const PACE_UNITS: usize = 16;

/// The names under one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys(pub(crate) String);

impl Keys {
    /// What the link itself looks at.
    pub(crate) fn beat(&self) -> String {
        format!("{{{}:beat}}:incarnation", self.0)
    }

    pub(crate) fn pace_unit(job: JobNo) -> usize {
        usize::try_from(job.0.rem_euclid(PACE_UNITS as i64)).unwrap_or(0)
    }

    pub(crate) fn pace_incarnation(&self, unit: usize) -> String {
        format!("{{{}:pace:{unit}}}:incarnation", self.0)
    }

    pub(crate) fn pace(&self, job: JobNo) -> String {
        format!("{{{}:pace:{}}}:{job}", self.0, Self::pace_unit(job))
    }

    pub(crate) fn quota(&self, account: AccountNo, action: &str) -> String {
        format!("{{{}:quota:{account}}}:{action}", self.0)
    }

    /// A shard's devices: who is online, the log of changes, and their numbers.
    pub(crate) fn shard(&self, shard: Shard) -> [String; 3] {
        let tag = format!("{{{}:shard:{}}}", self.0, shard.0);
        [format!("{tag}:online"), format!("{tag}:log"), format!("{tag}:numbers")]
    }

    /// Gateways that live.
    pub(crate) fn roll(&self) -> String {
        format!("{{{}:gateways}}:roll", self.0)
    }

    /// Who may do what only one process may do at a time.
    pub(crate) fn lease(&self, what: &str) -> String {
        format!("{{{}:lease:{what}}}:holder", self.0)
    }

    /// What all gateways hear.
    pub(crate) fn to_gateways(&self) -> String {
        format!("{}:gateways", self.0)
    }

    /// What one gateway hears.
    pub(crate) fn to_gateway(&self, gateway: &str) -> String {
        format!("{}:gateway:{gateway}", self.0)
    }

    /// Where a process hears answers to what it asked gateways.
    pub(crate) fn answers(&self, process: &str) -> String {
        format!("{}:answers:{process}", self.0)
    }

    pub(crate) fn bus(&self) -> String {
        format!("{}:bus", self.0)
    }

    /// Who listens to which accounts.
    pub(crate) fn listeners(&self) -> String {
        format!("{}:listeners", self.0)
    }

    pub(crate) fn events(&self) -> String {
        format!("{}:events", self.0)
    }

    /// A process's own voice, by which it knows that it still hears.
    pub(crate) fn pulse(&self, process: &str) -> String {
        format!("{}:pulse:{process}", self.0)
    }
}
