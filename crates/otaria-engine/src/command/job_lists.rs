//! ListOTAJobByFirmware, ListOTAJobByDevice.

use otaria_core::ids::JobNo;
use otaria_ports::store::{BATCH_MAX, Job};

use super::{Caller, Commands, DeviceRef, Listed};
use crate::error::CommandError;

impl Commands {
    /// ListOTAJobByFirmware: newest first, `skip` of those before `before`, then at most `limit` (1–1,000).
    ///
    /// # Errors
    /// `FirmwareNotFound`.
    pub async fn list_jobs_of_firmware(
        &self,
        caller: &Caller,
        firmware_id: &str,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<Job, JobNo>, CommandError> {
        let firmware = self.firmware_of(caller, firmware_id).await?;
        let limit = limit.clamp(1, BATCH_MAX);
        let (rows, total) = self.deps().store.jobs_of_firmware(firmware.no, before, skip, limit + 1).await?;
        Ok(Listed::cut(rows, total, limit, |last| last.no))
    }

    /// ListOTAJobByDevice: the jobs of a firmware that have a task for the device, paged as
    /// [`Commands::list_jobs_of_firmware`].
    ///
    /// # Errors
    /// `FirmwareNotFound`, or a device or product that is not the caller's.
    pub async fn list_jobs_of_device(
        &self,
        caller: &Caller,
        which: &DeviceRef,
        firmware_id: &str,
        before: Option<JobNo>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<Job, JobNo>, CommandError> {
        let (_, device) = self.device_of(caller, which).await?;
        let firmware = self.firmware_of(caller, firmware_id).await?;
        let limit = limit.clamp(1, BATCH_MAX);
        let store = &self.deps().store;
        let (rows, total) = store.jobs_of_device(device.id, firmware.no, before, skip, limit + 1).await?;
        Ok(Listed::cut(rows, total, limit, |last| last.no))
    }
}
