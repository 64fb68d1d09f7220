//! What devices were offered before: a version that a task knows nothing of may be an earlier one's doing.
//!
//! Decides nothing; the rules of [`otaria_core::task`] are told what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::{DeviceId, InformedVersion, JobNo, ModuleName, Version};
use otaria_core::task::{Report, Said, TaskEvent};
use otaria_ports::store::Task;

use crate::book::JobFacts;
use crate::error::CommandError;
use crate::shell::Shell;

/// By so much the clocks of two processes may differ.
const CLOCKS_APART: Duration = Duration::from_secs(2);

/// What ended tasks had offered to the devices of a batch of reports.
#[derive(Default)]
pub(super) struct Earlier(BTreeMap<(DeviceId, ModuleName), Offered>);

#[derive(Default)]
struct Offered {
    /// Not there when the task ended.
    missed: Vec<Version>,
    /// There since the open task's job was made, perhaps after its expansion had looked the device's version up.
    arrived: Vec<Version>,
}

impl Earlier {
    /// Looks up those devices that inform a version which their open task knows nothing of. There are few: who
    /// comes back informs what it had.
    pub(super) async fn find(
        shell: &Shell,
        reports: &[Report],
        tasks: &[Task],
        facts: &BTreeMap<JobNo, Arc<JobFacts>>,
    ) -> Result<Self, CommandError> {
        let open: BTreeMap<(DeviceId, &ModuleName), (&Task, &JobFacts)> = tasks
            .iter()
            .filter_map(|task| {
                let facts = facts.get(&task.key.job)?;
                Some(((task.key.device, &task.module), (task, &**facts)))
            })
            .collect();
        let is_foreign = |report: &&Report| {
            let Said::Version(version) = &report.said else { return false };
            open.get(&(report.device, &report.module)).is_some_and(|(task, facts)| {
                task.state.attempt().is_some()
                    && *version != facts.policy.dest_version
                    && task.src_version.as_ref() != Some(version)
            })
        };
        let devices: BTreeSet<DeviceId> =
            reports.iter().filter(is_foreign).map(|report| report.device).collect();
        if devices.is_empty() {
            return Ok(Self::default());
        }
        let devices: Vec<DeviceId> = devices.into_iter().collect();
        let mut earlier = Self::default();
        for ended in shell.deps.store.ended_offers(&devices).await? {
            let beside = open.get(&(ended.device, &ended.module));
            let Some(since) = beside.map(|(_, facts)| facts.job.created_at) else { continue };
            let offered = earlier.0.entry((ended.device, ended.module)).or_default();
            match ended.succeeded_at {
                None => offered.missed.push(ended.version),
                Some(at) if at + CLOCKS_APART >= since => offered.arrived.push(ended.version),
                Some(_) => {}
            }
        }
        Ok(earlier)
    }

    /// That the device of an open task informs a version.
    pub(super) fn informed(&self, version: &InformedVersion, task: &Task) -> TaskEvent {
        let (mut source, mut offered_before) = (task.src_version.clone(), false);
        if !self.0.is_empty()
            && let Some(offered) = self.0.get(&(task.key.device, task.module.clone()))
        {
            offered_before = offered.missed.iter().any(|missed| *version == *missed);
            if offered.arrived.iter().any(|arrived| *version == *arrived) {
                source = Some(version.clone());
            }
        }
        TaskEvent::Informed { version: version.clone(), source, offered_before }
    }
}
