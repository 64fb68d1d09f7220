//! Devices, and what the rest of the house knows of them.
//!
//! Whether a device is online is asked of presence, never of the store.

mod applies;
mod manage;
mod register;

pub use applies::{APPLY_MAX, AppliedDevice, ApplyStatus, ApplyView, CheckedNames, NameFault};
pub use manage::{DeviceState, DeviceStatesParams};
pub use register::{REGISTER_MAX, RefusedDevice, RegisteredDevice};

use std::collections::BTreeMap;

use otaria_core::ids::{DeviceId, DeviceName, parse_iot_id};
use otaria_core::rules::{Code, Refusal, device_name};
use otaria_core::time::Timestamp;
use otaria_ports::store::{BATCH_MAX, Device, ModuleVersion, Product, Role};

use super::{Caller, Commands, Listed};
use crate::error::CommandError;

/// The state of a device's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceStatus {
    /// Connected.
    Online,
    /// Was connected before.
    Offline,
    /// Has never connected.
    Unactive,
    /// Shut out.
    Disable,
}

impl DeviceStatus {
    /// All of them.
    pub(super) const ALL: [Self; 4] = [Self::Online, Self::Offline, Self::Unactive, Self::Disable];

    /// The name on every wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "ONLINE",
            Self::Offline => "OFFLINE",
            Self::Unactive => "UNACTIVE",
            Self::Disable => "DISABLE",
        }
    }

    pub(super) fn of(device: &Device, session: Option<i64>) -> Self {
        match (device.enabled, session, device.active_at) {
            (false, _, _) => Self::Disable,
            (true, Some(_), _) => Self::Online,
            (true, None, Some(_)) => Self::Offline,
            (true, None, None) => Self::Unactive,
        }
    }
}

/// How a caller names a device: by its id, or by product and name; the id wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DeviceRef {
    pub iot_id: Option<String>,
    pub product_key: Option<String>,
    pub device_name: Option<String>,
}

/// A device as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// The device.
    pub device: Device,
    /// Its DeviceSecret as 32 hex digits; `None` for viewers.
    pub secret: Option<String>,
    /// The state of its connection.
    pub status: DeviceStatus,
    /// What it informed last, by module.
    pub versions: Vec<ModuleVersion>,
}

impl Commands {
    /// A product's devices in the order of names: after `after`, then `skip` more, at most `limit`.
    ///
    /// # Errors
    /// `ProductNotFound`.
    pub async fn query_devices(
        &self,
        caller: &Caller,
        product_key: Option<&String>,
        mut after: Option<DeviceName>,
        mut skip: usize,
        limit: usize,
    ) -> Result<(Product, Listed<DeviceView, DeviceName>), CommandError> {
        let product = self.product_of(caller, product_key).await?;
        let total = product.device_count;
        while skip > 0 {
            let mut passed =
                self.deps().store.devices(product.no, after.as_ref(), skip.min(BATCH_MAX)).await?;
            skip -= passed.len();
            let Some(last) = passed.pop() else {
                return Ok((product, Listed { rows: Vec::new(), total, next: None }));
            };
            after = Some(last.name);
        }
        let devices = self.deps().store.devices(product.no, after.as_ref(), limit + 1).await?;
        let Listed { rows, next, .. } = Listed::cut(devices, total, limit, |last| last.name.clone());
        let rows = self.device_views(caller, &product, rows).await?;
        Ok((product, Listed { rows, total, next }))
    }

    /// One device.
    ///
    /// # Errors
    /// `DeviceNotFound`, `ProductNotFound`, or what is missing to name one.
    pub async fn query_device(
        &self,
        caller: &Caller,
        which: &DeviceRef,
    ) -> Result<(Product, DeviceView), CommandError> {
        let (product, device) = self.device_of(caller, which).await?;
        let view = self.device_views(caller, &product, vec![device]).await?.pop();
        Ok((product, view.ok_or_else(unknown_device)?))
    }

    /// Whether a device is connected, and, if it is, since when.
    ///
    /// # Errors
    /// As [`Commands::query_device`].
    pub async fn device_status(
        &self,
        caller: &Caller,
        which: &DeviceRef,
    ) -> Result<(DeviceStatus, Option<Timestamp>), CommandError> {
        let (_, device) = self.device_of(caller, which).await?;
        let sessions = self.deps().presence.sessions(&[device.id]).await?;
        let status = DeviceStatus::of(&device, sessions.first().copied().flatten());
        let since = device.online_at.filter(|_| status == DeviceStatus::Online);
        Ok((status, since))
    }

    /// The caller's device that is meant, and its product.
    pub(super) async fn device_of(
        &self,
        caller: &Caller,
        which: &DeviceRef,
    ) -> Result<(Product, Device), CommandError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(iot_id) = given(&which.iot_id) {
            let id = parse_iot_id(&iot_id).ok_or_else(unknown_device)?;
            let device = self.deps().store.device_by_id(id).await?.ok_or_else(unknown_device)?;
            let product = self.deps().store.product_by_no(device.product).await?;
            let product = product.filter(|product| product.new.account == caller.account);
            return Ok((product.ok_or_else(unknown_device)?, device));
        }
        let Some(name) = given(&which.device_name) else {
            return Err(Refusal::missing("DeviceName", ", unless IotId is given").into());
        };
        let name = device_name(&name)?;
        let product = self.product_of(caller, which.product_key.as_ref()).await?;
        let device = self.deps().store.device(product.no, &name).await?;
        Ok((product, device.ok_or_else(unknown_device)?))
    }

    /// Devices with what the rest of the house knows of them.
    async fn device_views(
        &self,
        caller: &Caller,
        product: &Product,
        devices: Vec<Device>,
    ) -> Result<Vec<DeviceView>, CommandError> {
        let ids: Vec<DeviceId> = devices.iter().map(|device| device.id).collect();
        let mut versions: BTreeMap<DeviceId, Vec<ModuleVersion>> = BTreeMap::new();
        let mut sessions = Vec::with_capacity(ids.len());
        for ids in ids.chunks(BATCH_MAX) {
            sessions.extend(self.deps().presence.sessions(ids).await?);
            for version in self.deps().store.module_versions(ids).await? {
                versions.entry(version.device).or_default().push(version);
            }
        }
        let views = devices.into_iter().zip(sessions).map(|(device, session)| {
            let secret = match caller.role {
                Role::Viewer => None,
                Role::Operator | Role::Admin => Some(self.open_device_secret(&product.new.key, &device)?),
            };
            let status = DeviceStatus::of(&device, session);
            let versions = versions.remove(&device.id).unwrap_or_default();
            Ok(DeviceView { device, secret, status, versions })
        });
        views.collect()
    }
}

fn unknown_device() -> CommandError {
    CommandError::not_allowed(Code::DeviceNotFound, "there is no such device")
}
