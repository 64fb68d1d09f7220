//! Shutting devices out, letting them in, deleting them.
//!
//! Invariant: when a call that shuts a device out or deletes it is answered, the device is not connected and
//! cannot connect; a call that failed midway can be repeated.

use otaria_core::ids::{DeviceId, DeviceName, ModuleName, parse_iot_id};
use otaria_core::rules::{Code, Refusal, device_name};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Device, Role, StoreError};

use super::super::{Caller, Commands, DeviceRef, DeviceStatus};
use super::unknown_device;
use crate::error::CommandError;

/// Devices of one call at most.
const STATES_MAX: usize = 50;

/// Which devices to tell of, as a face received it; ids win.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DeviceStatesParams {
    pub product_key: Option<String>,
    pub device_name: Vec<String>,
    pub iot_id: Vec<String>,
}

/// A device and the state of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceState {
    /// The device.
    pub device: Device,
    /// The state.
    pub status: DeviceStatus,
}

impl Commands {
    /// DisableThing: shuts a device out and ends its connection. Its tasks wait.
    ///
    /// # Errors
    /// `DeviceNotFound`, `ProductNotFound`, or what is missing to name one.
    pub async fn disable_device(&self, caller: &Caller, which: &DeviceRef) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let (_, device) = self.device_of(caller, which).await?;
        self.shut_out(device.id).await?;
        tracing::info!(device.id = device.id.0, account = caller.account.0, "device disabled");
        Ok(())
    }

    /// EnableThing.
    ///
    /// # Errors
    /// As [`Commands::disable_device`].
    pub async fn enable_device(&self, caller: &Caller, which: &DeviceRef) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let (_, device) = self.device_of(caller, which).await?;
        self.deps().store.enable_device(device.id, true).await.map_err(gone)
    }

    /// DeleteDevice: ends its connection, cancels its open tasks and forgets it.
    ///
    /// # Errors
    /// As [`Commands::disable_device`].
    pub async fn delete_device(
        &self,
        caller: &Caller,
        now: Timestamp,
        which: &DeviceRef,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let (_, device) = self.device_of(caller, which).await?;
        // Shut out first: when it is deleted nobody can name it any more, and its connection must be over.
        self.shut_out(device.id).await?;
        let open = self.deps().store.open_tasks(&[device.id]).await?;
        self.deps().store.delete_device(device.id, now).await.map_err(gone)?;
        self.shell.close_hints.add(open.into_iter().map(|task| task.key.job));
        tracing::info!(device.id = device.id.0, account = caller.account.0, "device deleted");
        Ok(())
    }

    /// BatchGetDeviceState, of the devices that exist.
    ///
    /// # Errors
    /// `ProductNotFound`, no device at all, more than 50, or a name that breaks its rule.
    pub async fn device_states(
        &self,
        caller: &Caller,
        params: &DeviceStatesParams,
    ) -> Result<Vec<DeviceState>, CommandError> {
        let (parameter, count) = match params.iot_id.len() {
            0 => ("DeviceName", params.device_name.len()),
            ids => ("IotId", ids),
        };
        if count == 0 {
            return Err(Refusal::missing("DeviceName", "").into());
        }
        if count > STATES_MAX {
            let rule = format!("may have at most {STATES_MAX} entries, not {count}");
            return Err(Refusal::invalid(Code::InvalidParameter, parameter, rule).into());
        }
        let devices = if params.iot_id.is_empty() {
            self.devices_by_name(caller, params).await?
        } else {
            self.devices_by_iot_id(caller, &params.iot_id).await?
        };
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let sessions = self.deps().presence.sessions(&ids).await?;
        let state = |(device, session)| DeviceState { status: DeviceStatus::of(&device, session), device };
        Ok(devices.into_iter().zip(sessions).map(state).collect())
    }

    async fn shut_out(&self, device: DeviceId) -> Result<(), CommandError> {
        self.deps().store.enable_device(device, false).await.map_err(gone)?;
        Ok(self.deps().pusher.close(device).await?)
    }

    async fn devices_by_name(
        &self,
        caller: &Caller,
        params: &DeviceStatesParams,
    ) -> Result<Vec<Device>, CommandError> {
        let names: Vec<DeviceName> =
            params.device_name.iter().map(|text| device_name(text)).collect::<Result<_, _>>()?;
        let product = self.product_of(caller, params.product_key.as_ref()).await?;
        let module = ModuleName::default_module();
        let found = self.deps().store.resolve(product.no, i64::MAX, &module, &names).await?;
        let ids: Vec<DeviceId> = found.into_iter().flatten().map(|candidate| candidate.device).collect();
        Ok(self.deps().store.devices_by_id(&ids).await?.into_iter().flatten().collect())
    }

    /// Those of the ids that are devices of the caller.
    async fn devices_by_iot_id(
        &self,
        caller: &Caller,
        texts: &[String],
    ) -> Result<Vec<Device>, CommandError> {
        let ids: Vec<DeviceId> = texts.iter().filter_map(|text| parse_iot_id(text)).collect();
        let found = self.deps().store.devices_by_id(&ids).await?;
        let mut mine = Vec::with_capacity(found.len());
        for device in found.into_iter().flatten() {
            let product = self.deps().store.product_by_no(device.product).await?;
            if product.is_some_and(|product| product.new.account == caller.account) {
                mine.push(device);
            }
        }
        Ok(mine)
    }
}

/// What the store says of a device that was deleted since it was read.
fn gone(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { .. } => unknown_device(),
        other => other.into(),
    }
}
