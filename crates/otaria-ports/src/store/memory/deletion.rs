//! What is deleted, and what draws ask of what was.

use otaria_core::ids::{DeviceId, DeviceName, InformedVersion, JobNo, ModuleName, ProductNo};
use otaria_core::task::{CancelCause, TaskState};
use otaria_core::time::Timestamp;

use super::tables::Tables;
use crate::store::{Device, Drawn, Product, SourceKind, StoreError, Task};

impl Tables {
    /// Keeps the versions that a device is about to lose (of one module, or of all) for the draws that ask
    /// for what was when their jobs were made.
    pub(super) fn remember_version(&mut self, device: DeviceId, module: Option<&ModuleName>) {
        let product = self.devices[&device].product;
        let draws: Vec<(JobNo, Option<InformedVersion>)> = self
            .jobs
            .values()
            .filter(|row| matches!(row.job.source, SourceKind::Part { .. }) && !row.job.expansion.complete)
            .filter(|row| row.job.product == product && module.is_none_or(|module| *module == row.module))
            .filter(|row| device.n() <= row.job.upto)
            .map(|row| (row.job.no, self.version(device, &row.module).cloned()))
            .collect();
        for (job, version) in draws {
            self.row_mut(job).past.entry(device).or_insert(version);
        }
    }

    pub(super) fn scan_drawn(&self, job: JobNo, after: Option<&DeviceName>, limit: usize) -> Vec<Drawn> {
        let Some(row) = self.jobs.get(&job) else { return Vec::new() };
        let there = self.devices_after(row.job.product, after).filter(|device| device.id.n() <= row.job.upto);
        let gone = row.past.keys().filter_map(|device| self.gone_devices.get(device));
        let gone = gone.filter(|device| after.is_none_or(|after| device.name > *after));
        let drawn = |device: &Device, gone| {
            let candidate = self.candidate(device, &row.module);
            let version_then = row.past.get(&device.id).unwrap_or(&candidate.version).clone();
            Drawn { name: device.name.clone(), candidate, version_then, gone }
        };
        let mut rows: Vec<Drawn> = there.take(limit).map(|device| drawn(device, false)).collect();
        rows.extend(gone.map(|device| drawn(device, true)));
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows.truncate(limit);
        rows
    }

    pub(super) fn delete_device(&mut self, id: DeviceId, now: Timestamp) -> Result<(), StoreError> {
        if !self.devices.contains_key(&id) {
            return Err(StoreError::NotFound { what: "device" });
        }
        let open: Vec<Task> = self.tasks.open_of(id).cloned().collect();
        for task in &open {
            let (attempts, cause) = (task.state.attempts(), CancelCause::DeviceDeleted);
            self.move_task(task, TaskState::Canceled { attempts, cause }, now);
        }
        self.remember_version(id, None);
        self.versions.remove(&id);
        self.groups.forget(id);
        let Some(device) = self.devices.remove(&id) else { return Ok(()) };
        if let Some(names) = self.device_names.get_mut(&device.product) {
            names.remove(&device.name);
        }
        if let Some(product) = self.products.get_mut(&device.product) {
            product.device_count -= 1;
        }
        self.gone_devices.insert(id, device);
        Ok(())
    }

    pub(super) fn alive_products(&self) -> impl Iterator<Item = &Product> {
        self.products.values().filter(|product| !self.gone_products.contains(&product.no))
    }

    pub(super) fn delete_product(&mut self, no: ProductNo) -> Result<(), StoreError> {
        let product = self.products.get(&no).filter(|_| !self.gone_products.contains(&no));
        let product = product.ok_or(StoreError::NotFound { what: "product" })?;
        if product.device_count > 0 {
            return Err(StoreError::Conflict { what: "devices" });
        }
        if self.jobs.values().any(|row| row.job.product == no && row.is_unfinished()) {
            return Err(StoreError::Conflict { what: "jobs" });
        }
        let firmwares = self.firmwares.values().filter(|firmware| firmware.product == no);
        self.gone_firmwares.extend(firmwares.map(|firmware| firmware.no));
        self.modules.retain(|(product, _), _| *product != no);
        self.gone_products.insert(no);
        Ok(())
    }
}
