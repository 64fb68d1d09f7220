//! Devices that join dynamic jobs by themselves.

use std::collections::BTreeSet;

use otaria_core::ids::{DeviceId, FirmwareNo, InformedVersion, JobNo, ModuleName, ProductNo};
use otaria_core::job::{DynamicMode, JobKind};
use otaria_core::scope::Scope;
use otaria_core::task::TaskStatus;
use otaria_core::time::Timestamp;

use super::tables::{JobRow, Tables};
use crate::store::{CreateJob, Device, NewTask, SourceKind, StandingGroup, StoreError, Task, VersionReport};

impl Tables {
    /// Dynamic jobs that take devices, the latest first.
    fn strategies(&self) -> impl Iterator<Item = &JobRow> {
        let latest = self.jobs.values().rev();
        latest.filter(|row| row.job.new.kind == JobKind::Dynamic && row.job.status.takes_devices())
    }

    /// Refuses a dynamic job beside which it may not stand.
    pub(super) fn expect_room(
        &self,
        create: &CreateJob,
        group: Option<&StandingGroup>,
        firmware: FirmwareNo,
    ) -> Result<(), StoreError> {
        if let Some(group) = group {
            let found = self.groups.alive(group.no).filter(|found| found.new.account == create.account);
            let found = found.filter(|found| found.new.expression.is_some());
            found.ok_or(StoreError::NotFound { what: "group" })?;
        }
        if self.strategies().any(|row| row.job.firmware == firmware) {
            return Err(StoreError::Exists { what: "dynamic job" });
        }
        let of_group = self.strategies().find(|row| match &row.job.source {
            SourceKind::Standing { group: Some(other), .. } => {
                group.is_some_and(|group| group.no == other.no)
            }
            SourceKind::Standing { group: None, .. }
            | SourceKind::Names
            | SourceKind::File { .. }
            | SourceKind::Product
            | SourceKind::Part { .. }
            | SourceKind::Group { .. } => false,
        });
        let (Some(beside), wanted) = (of_group.map(|row| &row.job.new.policy), &create.new.policy) else {
            return Ok(());
        };
        if beside.overwrite != wanted.overwrite {
            return Err(StoreError::Conflict { what: "overwrite mode" });
        }
        if beside.multi_module != wanted.multi_module {
            return Err(StoreError::Conflict { what: "multi-module mode" });
        }
        Ok(())
    }

    /// Lets devices that informed versions join; returns those whose new tasks may be pushed, sorted.
    pub(super) fn arrive(&mut self, reports: &[VersionReport], now: Timestamp) -> Vec<(JobNo, DeviceId)> {
        let mut joined = BTreeSet::new();
        for VersionReport { version: said, order } in reports {
            let kept = self.versions.get(&said.device).and_then(|modules| modules.get(&said.module));
            // Also a report that is kept already: what was in the way the first time may be gone.
            if kept.is_none_or(|kept| kept.order != *order) {
                continue;
            }
            let version = Some(said.version.clone());
            let any_mode = |_| true;
            if let Some(job) = self.join(said.device, &said.module, version, any_mode, now) {
                joined.insert((job, said.device));
            }
        }
        joined.into_iter().collect()
    }

    /// Lets devices join that were just registered and never informed a version.
    pub(super) fn join_registered(
        &mut self,
        product: ProductNo,
        devices: &[Option<DeviceId>],
        now: Timestamp,
    ) {
        let modules: BTreeSet<ModuleName> = self
            .strategies()
            .filter(|row| row.job.product == product)
            .map(|row| row.module.clone())
            .collect();
        for module in modules {
            for device in devices.iter().flatten() {
                self.join(*device, &module, None, |mode| mode == DynamicMode::NowAndLater, now);
            }
        }
    }

    /// Makes a device's task in the latest job that takes it; which job, when the task may be pushed.
    fn join(
        &mut self,
        device: DeviceId,
        module: &ModuleName,
        version: Option<InformedVersion>,
        of_mode: impl Fn(DynamicMode) -> bool,
        now: Timestamp,
    ) -> Option<JobNo> {
        let known = &self.devices[&device];
        let takes =
            |row: &&JobRow| row.module == *module && self.takes(row, known, version.as_ref(), &of_mode);
        let job = self.strategies().find(takes)?.job.no;
        if self.tasks.get(device, job).is_some() {
            return None;
        }
        let in_the_way = self.in_the_way(job, device);
        let room = in_the_way.iter().all(|task| self.may_replace(job, task));
        if !room || self.is_beaten(job, device) {
            return None;
        }
        self.row_mut(job).job.expansion.lines += 1;
        let new = NewTask { device, src_version: version };
        (self.make_task(job, &new, &mut Vec::new(), now) == TaskStatus::Queued).then_some(job)
    }

    fn takes(
        &self,
        row: &JobRow,
        device: &Device,
        version: Option<&InformedVersion>,
        of_mode: &impl Fn(DynamicMode) -> bool,
    ) -> bool {
        let SourceKind::Standing { mode, group } = &row.job.source else { return false };
        let new = &self.firmwares[&row.job.firmware].new;
        let scope = Scope::new(&new.dest_version, row.job.new.target.src_versions(), new.kind.src_version());
        row.job.product == device.product
            && of_mode(*mode)
            && scope.takes(version)
            && group.as_ref().is_none_or(|group| group.expression.takes(&row.job.new.product, &device.name))
    }

    /// Whether a later dynamic job has the device.
    pub(super) fn is_beaten(&self, job: JobNo, device: DeviceId) -> bool {
        let is_later =
            |task: &Task| task.key.job > job && self.row(task.key.job).job.new.kind == JobKind::Dynamic;
        self.in_the_way(job, device).iter().any(is_later)
    }
}
