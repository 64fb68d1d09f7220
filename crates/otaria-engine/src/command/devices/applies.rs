//! Registering devices in two steps: names are checked and kept, and later registered all together.
//!
//! The second step is done when the call returns, in one transaction: who asks how far it is hears that it
//! is over. A repeat of the call changes nothing.

mod names;

pub use names::NameFault;

use otaria_core::ids::{ApplyNo, DeviceId, DeviceName};
use otaria_core::rules::{Code, DeviceDraft, DeviceParams, Refusal};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    Apply, ApplyName, Device, NewApply, NewDevice, Product, RefusedName, Role, StoreError,
};

use self::names::{sort_out, taken};
use super::super::{Caller, Commands, Listed};
use crate::error::CommandError;

/// Names of one batch at most.
pub const APPLY_MAX: usize = 10_000;
/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyStatus {
    /// All names were accepted.
    CheckSuccess,
    /// Names were refused; the others can be registered.
    CheckFailed,
    /// All devices are registered.
    CreateSuccess,
    /// Some devices were not registered: somebody took their names meanwhile.
    CreateFailed,
}

impl ApplyStatus {
    /// The name on every wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CheckSuccess => "CHECK_SUCCESS",
            Self::CheckFailed => "CHECK_FAILED",
            Self::CreateSuccess => "CREATE_SUCCESS",
            Self::CreateFailed => "CREATE_FAILED",
        }
    }

    fn of(apply: &Apply) -> Self {
        match &apply.devices {
            None if apply.new.refused.is_empty() => Self::CheckSuccess,
            None => Self::CheckFailed,
            Some(devices) if devices.iter().all(Option::is_some) => Self::CreateSuccess,
            Some(_) => Self::CreateFailed,
        }
    }
}

/// What came of checking names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedNames {
    /// The batch.
    pub apply: ApplyNo,
    /// The names that were refused.
    pub refused: Vec<(NameFault, RefusedName)>,
}

/// A batch as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyView {
    /// How far it is.
    pub status: ApplyStatus,
    /// Names that were accepted and, once they are registered, became devices.
    pub valid: Vec<DeviceName>,
    /// Names that were refused, also those that were taken meanwhile.
    pub refused: Vec<RefusedName>,
}

/// A device of a batch, with its secret for those who may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedDevice {
    /// The device.
    pub device: Device,
    /// Its DeviceSecret as 32 hex digits; `None` for viewers.
    pub secret: Option<String>,
}

impl Commands {
    /// BatchCheckDeviceNames.
    ///
    /// # Errors
    /// `ProductNotFound`, no name at all, or more than [`APPLY_MAX`].
    pub async fn check_names(
        &self,
        caller: &Caller,
        now: Timestamp,
        product_key: Option<&String>,
        names: &[DeviceParams],
    ) -> Result<CheckedNames, CommandError> {
        caller.needs(Role::Operator)?;
        if names.is_empty() {
            return Err(Refusal::missing("DeviceName", "").into());
        }
        expect_count("DeviceName", names.len())?;
        let product = self.product_of(caller, product_key).await?;
        let (accepted, mut refused) = sort_out(names);
        let module = otaria_core::ids::ModuleName::default_module();
        let asked: Vec<DeviceName> = accepted.iter().map(|name| name.name.clone()).collect();
        let found = self.deps().store.resolve(product.no, i64::MAX, &module, &asked).await?;
        let mut free = Vec::with_capacity(accepted.len());
        for (name, found) in accepted.into_iter().zip(found) {
            match found {
                None => free.push(name),
                Some(_) => refused.push((NameFault::Repeated, taken(name))),
            }
        }
        let kept = refused.iter().map(|(_, name)| name.clone()).collect();
        let new = NewApply { account: caller.account, product: product.no, names: free, refused: kept };
        let apply = self.deps().store.create_apply(&new, now).await.map_err(gone)?;
        Ok(CheckedNames { apply: apply.no, refused })
    }

    /// BatchRegisterDeviceWithApplyId. Repeating it changes nothing.
    ///
    /// # Errors
    /// `DeviceApplyNotFound`, `ProductNotFound`, or what is missing.
    pub async fn register_checked(
        &self,
        caller: &Caller,
        now: Timestamp,
        product_key: Option<&String>,
        apply_id: i64,
    ) -> Result<ApplyNo, CommandError> {
        caller.needs(Role::Operator)?;
        let (product, apply) = self.own_apply(caller, product_key, apply_id).await?;
        if apply.devices.is_none() {
            self.register_names(&product, &apply, now).await?;
        }
        Ok(apply.no)
    }

    /// BatchRegisterDevice: so many devices, under names that are made up.
    ///
    /// # Errors
    /// `ProductNotFound`, or a count that is not 1 to [`APPLY_MAX`].
    pub async fn register_count(
        &self,
        caller: &Caller,
        now: Timestamp,
        product_key: Option<&String>,
        count: i64,
    ) -> Result<ApplyNo, CommandError> {
        caller.needs(Role::Operator)?;
        let Ok(count @ 1..) = usize::try_from(count) else {
            let rule = format!("must be 1 to {APPLY_MAX}, not {count}");
            return Err(Refusal::invalid(Code::DeviceCountExceeded, "Count", rule).into());
        };
        expect_count("Count", count)?;
        let product = self.product_of(caller, product_key).await?;
        let names = (0..count).map(|_| Ok(ApplyName { name: self.made_up_name()?, nickname: None }));
        let names = names.collect::<Result<Vec<_>, CommandError>>()?;
        let new = NewApply { account: caller.account, product: product.no, names, refused: Vec::new() };
        let apply = self.deps().store.create_apply(&new, now).await.map_err(gone)?;
        self.register_names(&product, &apply, now).await?;
        Ok(apply.no)
    }

    /// QueryBatchRegisterDeviceStatus.
    ///
    /// # Errors
    /// `DeviceApplyNotFound`, `ProductNotFound`, or what is missing.
    pub async fn query_apply(
        &self,
        caller: &Caller,
        product_key: Option<&String>,
        apply_id: i64,
    ) -> Result<ApplyView, CommandError> {
        let (_, apply) = self.own_apply(caller, product_key, apply_id).await?;
        let status = ApplyStatus::of(&apply);
        let NewApply { names, mut refused, .. } = apply.new;
        let mut valid = Vec::with_capacity(names.len());
        for (place, name) in names.into_iter().enumerate() {
            match apply.devices.as_ref().map(|devices| devices.get(place).copied().flatten()) {
                None | Some(Some(_)) => valid.push(name.name),
                Some(None) => refused.push(taken(name)),
            }
        }
        Ok(ApplyView { status, valid, refused })
    }

    /// QueryPageByApplyId: the batch's devices from the `from`th on, at most `limit`.
    ///
    /// # Errors
    /// `DeviceApplyNotFound`, or what is missing.
    pub async fn devices_of_apply(
        &self,
        caller: &Caller,
        apply_id: i64,
        from: usize,
        limit: usize,
    ) -> Result<(Product, Listed<AppliedDevice, usize>), CommandError> {
        let apply = self.apply_by_id(caller, apply_id).await?;
        let product = self.deps().store.product_by_no(apply.new.product).await?;
        let product = product.ok_or_else(unknown_apply)?;
        let ids: Vec<DeviceId> = apply.devices.into_iter().flatten().flatten().collect();
        let page: Vec<DeviceId> = ids.iter().skip(from).take(limit).copied().collect();
        let next = (from + page.len() < ids.len()).then_some(from + page.len());
        let devices = self.deps().store.devices_by_id(&page).await?;
        // One that was deleted since then is left out.
        let rows = devices.into_iter().flatten().map(|device| {
            let secret = match caller.role {
                Role::Viewer => None,
                Role::Operator | Role::Admin => Some(self.open_device_secret(&product.new.key, &device)?),
            };
            Ok(AppliedDevice { device, secret })
        });
        let rows = rows.collect::<Result<Vec<_>, CommandError>>()?;
        Ok((product, Listed { rows, total: ids.len() as u64, next }))
    }

    async fn own_apply(
        &self,
        caller: &Caller,
        product_key: Option<&String>,
        apply_id: i64,
    ) -> Result<(Product, Apply), CommandError> {
        let product = self.product_of(caller, product_key).await?;
        let apply = self.apply_by_id(caller, apply_id).await?;
        if apply.new.product == product.no { Ok((product, apply)) } else { Err(unknown_apply()) }
    }

    async fn apply_by_id(&self, caller: &Caller, apply_id: i64) -> Result<Apply, CommandError> {
        if apply_id == 0 {
            return Err(Refusal::missing("ApplyId", "").into());
        }
        let apply = self.deps().store.apply(caller.account, ApplyNo(apply_id)).await?;
        apply.ok_or_else(unknown_apply)
    }

    async fn register_names(
        &self,
        product: &Product,
        apply: &Apply,
        now: Timestamp,
    ) -> Result<(), CommandError> {
        let names = apply.new.names.iter().cloned();
        let devices = names.map(|ApplyName { name, nickname }| {
            Ok(self.new_device(product, DeviceDraft { name: Some(name), nickname })?.0)
        });
        let devices: Vec<NewDevice> = devices.collect::<Result<_, CommandError>>()?;
        let registered = self.deps().store.register_apply(apply.no, product, &devices, now).await;
        registered.map(drop).map_err(gone)
    }
}

fn expect_count(parameter: &str, count: usize) -> Result<(), CommandError> {
    if count <= APPLY_MAX {
        return Ok(());
    }
    let rule = format!("may be at most {APPLY_MAX}, not {count}");
    Err(Refusal::invalid(Code::DeviceCountExceeded, parameter, rule).into())
}

fn unknown_apply() -> CommandError {
    CommandError::not_allowed(Code::DeviceApplyNotFound, "there is no such batch of names")
}

/// What the store says of a product or batch that was deleted since it was read.
fn gone(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { what: "product" } => {
            CommandError::not_allowed(Code::ProductNotFound, "the product was deleted")
        }
        StoreError::NotFound { .. } => unknown_apply(),
        other => other.into(),
    }
}
