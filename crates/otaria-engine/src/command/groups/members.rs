//! Who is in a group.

use std::collections::{BTreeMap, BTreeSet};

use otaria_core::ids::{DeviceId, DeviceName, GroupNo, ModuleName, ProductKey, ProductNo};
use otaria_core::rules::{Code, GROUP_BATCH_MAX, Refusal, device_name, product_key};
use otaria_ports::store::{AddedToGroup, BATCH_MAX, Device, Group, Role};

use super::super::{Caller, Commands, DeviceRef, Listed};
use super::gone;
use crate::error::CommandError;

/// A device of a call that fills or empties a group, by product and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct MemberParams {
    pub product_key: Option<String>,
    pub device_name: Option<String>,
}

/// What became of devices that were to be added, and how many of them exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedDevices {
    /// Devices of the call that exist, each once.
    pub valid: u64,
    /// What became of them.
    pub outcome: AddedToGroup,
}

/// How many devices were taken out of a group, of those that exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TakenDevices {
    /// Devices of the call that exist, each once.
    pub valid: u64,
    /// Were in, and are not any more.
    pub taken: u64,
}

/// A device of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// The device.
    pub device: Device,
    /// Its product's key.
    pub product_key: ProductKey,
    /// Its product's name.
    pub product_name: String,
}

impl Commands {
    /// BatchAddDeviceGroupRelations.
    ///
    /// # Errors
    /// `GroupNotFound`, no device at all, more than 200, or a name that breaks its rule. Devices that do not
    /// exist are passed over.
    pub async fn add_to_group(
        &self,
        caller: &Caller,
        group_id: &str,
        devices: &[MemberParams],
    ) -> Result<AddedDevices, CommandError> {
        caller.needs(Role::Operator)?;
        let (group, devices) = self.members_meant(caller, group_id, devices).await?;
        let outcome = self.deps().store.add_to_group(group.no, &devices).await.map_err(gone)?;
        Ok(AddedDevices { valid: devices.len() as u64, outcome })
    }

    /// BatchDeleteDeviceGroupRelations.
    ///
    /// # Errors
    /// As [`Commands::add_to_group`].
    pub async fn take_from_group(
        &self,
        caller: &Caller,
        group_id: &str,
        devices: &[MemberParams],
    ) -> Result<TakenDevices, CommandError> {
        caller.needs(Role::Operator)?;
        let (group, devices) = self.members_meant(caller, group_id, devices).await?;
        let taken = self.deps().store.take_from_group(group.no, &devices).await.map_err(gone)?;
        Ok(TakenDevices { valid: devices.len() as u64, taken })
    }

    /// QueryDeviceListByDeviceGroup: after `after`, then without the first `skip`, at most `limit`.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub async fn devices_of_group(
        &self,
        caller: &Caller,
        group_id: &str,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<MemberView, DeviceId>, CommandError> {
        let group = self.own_static_group(caller, "GroupId", group_id).await?;
        let rows = self.deps().store.devices_of_group(group.no, after, skip, limit + 1).await?;
        let Listed { rows, total, next } = Listed::cut(rows, group.device_count, limit, |last| last.id);
        let mut products: BTreeMap<ProductNo, (ProductKey, String)> = BTreeMap::new();
        let mut views = Vec::with_capacity(rows.len());
        for device in rows {
            let known = products.get(&device.product).cloned();
            let (product_key, product_name) = match known {
                Some(known) => known,
                None => {
                    let product = self.deps().store.product_by_no(device.product).await?;
                    // It was deleted while this was read, and the device with it.
                    let Some(product) = product else { continue };
                    (product.new.key, product.new.name)
                }
            };
            products.insert(device.product, (product_key.clone(), product_name.clone()));
            views.push(MemberView { device, product_key, product_name });
        }
        Ok(Listed { rows: views, total, next })
    }

    /// QueryDeviceGroupByDevice.
    ///
    /// # Errors
    /// `DeviceNotFound`, `ProductNotFound`, or what is missing to name one.
    pub async fn groups_of_device(
        &self,
        caller: &Caller,
        which: &DeviceRef,
    ) -> Result<Vec<Group>, CommandError> {
        let (_, device) = self.device_of(caller, which).await?;
        Ok(self.deps().store.groups_of_device(device.id).await?)
    }

    /// The group and those of the devices that exist, each once.
    async fn members_meant(
        &self,
        caller: &Caller,
        group_id: &str,
        devices: &[MemberParams],
    ) -> Result<(Group, Vec<DeviceId>), CommandError> {
        let named = members(devices)?;
        let group = self.own_static_group(caller, "GroupId", group_id).await?;
        let mut found = BTreeSet::new();
        for (key, names) in named {
            let product = self.deps().store.product(&key).await?;
            let Some(product) = product.filter(|product| product.new.account == caller.account) else {
                continue;
            };
            let module = ModuleName::default_module();
            let ids = self.deps().store.resolve(product.no, i64::MAX, &module, &names).await?;
            found.extend(ids.into_iter().flatten().map(|candidate| candidate.device));
        }
        Ok((group, found.into_iter().collect()))
    }

    pub(super) async fn online_in_group(&self, group: GroupNo) -> Result<u64, CommandError> {
        let (mut online, mut after) = (0, None);
        loop {
            let page = self.deps().store.devices_of_group(group, after, 0, BATCH_MAX).await?;
            let ids: Vec<DeviceId> = page.iter().map(|device| device.id).collect();
            online += self.deps().presence.sessions(&ids).await?.into_iter().flatten().count() as u64;
            after = ids.last().copied();
            if ids.len() < BATCH_MAX {
                return Ok(online);
            }
        }
    }
}

/// The devices of a call by product, with names that are names.
fn members(devices: &[MemberParams]) -> Result<BTreeMap<ProductKey, Vec<DeviceName>>, Refusal> {
    if devices.is_empty() {
        return Err(Refusal::missing("Device", ""));
    }
    if devices.len() > GROUP_BATCH_MAX {
        let rule = format!("may have at most {GROUP_BATCH_MAX} entries, not {}", devices.len());
        return Err(Refusal::invalid(Code::InvalidParameter, "Device", rule));
    }
    let mut named: BTreeMap<ProductKey, Vec<DeviceName>> = BTreeMap::new();
    for (n, member) in (1..).zip(devices) {
        let placed = |refusal: Refusal| {
            let parameter = format!("Device.{n}.{}", refusal.parameter);
            Refusal { rule: format!("Device.{n}: {}", refusal.rule), parameter, ..refusal }
        };
        let key = product_key(member.product_key.as_ref()).map_err(placed)?;
        let name = member.device_name.as_deref().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| placed(Refusal::missing("DeviceName", "")))?;
        named.entry(key).or_default().push(device_name(name).map_err(placed)?);
    }
    Ok(named)
}
