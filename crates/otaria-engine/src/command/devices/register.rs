//! Registering devices, one by one or by the thousand.
//!
//! A DeviceSecret is told when it is drawn, and to operators later; at rest it is sealed.

use std::collections::{BTreeMap, BTreeSet};

use otaria_core::ids::{DeviceId, DeviceName};
use otaria_core::rules::{Code, DeviceDraft, DeviceParams, Refusal};
use otaria_core::time::Timestamp;
use otaria_ports::store::{NewDevice, Product, Role};

use super::super::secrets::{DEVICE_SECRET_BYTES, device_context, hex};
use super::super::{Caller, Commands};
use crate::error::CommandError;

/// Devices of one call at most.
pub const REGISTER_MAX: usize = 20_000;
/// Letters and digits of a name that the server makes up.
const MADE_UP_NAME_CHARS: usize = 20;

/// A device that was just registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredDevice {
    /// Its id.
    pub id: DeviceId,
    /// Its name.
    pub name: DeviceName,
    /// Its nickname.
    pub nickname: Option<String>,
    /// Its DeviceSecret: 32 hex digits.
    pub secret: String,
}

/// A device of a batch that was not registered. The others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedDevice {
    /// The name as it came.
    pub name: String,
    /// The error's code.
    pub code: String,
    /// The error in words.
    pub message: String,
}

impl Commands {
    /// Registers one device, under a name that is made up if none is given.
    ///
    /// # Errors
    /// `ProductNotFound`, `DeviceNameExisted`, or the rule that a parameter breaks.
    pub async fn register_device(
        &self,
        caller: &Caller,
        now: Timestamp,
        product_key: Option<&String>,
        params: &DeviceParams,
    ) -> Result<(Product, RegisteredDevice), CommandError> {
        caller.needs(Role::Operator)?;
        let draft = params.parse()?;
        let product = self.product_of(caller, product_key).await?;
        let (new, secret) = self.new_device(&product, draft)?;
        let ids = self.deps().store.register_devices(&product, std::slice::from_ref(&new), now).await?;
        let Some(id) = ids.into_iter().next().flatten() else {
            return Err(CommandError::not_allowed(Code::DeviceNameExisted, NAME_TAKEN));
        };
        Ok((product, RegisteredDevice { id, name: new.name, nickname: new.nickname, secret }))
    }

    /// Registers devices, each on its own: the answer is in the order of the call, and one that is refused
    /// does not hinder the others.
    ///
    /// # Errors
    /// `ProductNotFound`, or `DeviceCountExceeded` for none and for more than [`REGISTER_MAX`].
    pub async fn register_devices(
        &self,
        caller: &Caller,
        now: Timestamp,
        product_key: Option<&String>,
        devices: &[DeviceParams],
    ) -> Result<Vec<Result<RegisteredDevice, RefusedDevice>>, CommandError> {
        caller.needs(Role::Operator)?;
        if devices.is_empty() {
            return Err(Refusal::missing("Device", "").into());
        }
        if devices.len() > REGISTER_MAX {
            let rule = format!("may have at most {REGISTER_MAX} entries, not {}", devices.len());
            return Err(Refusal::invalid(Code::DeviceCountExceeded, "Device", rule).into());
        }
        let product = self.product_of(caller, product_key).await?;

        let mut seen = BTreeSet::new();
        let (mut fresh, mut secrets, mut places) = (Vec::new(), Vec::new(), Vec::new());
        let mut refused = BTreeMap::new();
        for (place, params) in devices.iter().enumerate() {
            let refusal = match params.parse() {
                Ok(draft) if draft.name.iter().all(|name| seen.insert(name.clone())) => {
                    let (new, secret) = self.new_device(&product, draft)?;
                    fresh.push(new);
                    secrets.push(secret);
                    places.push(place);
                    continue;
                }
                Ok(_) => refused_device(params, Code::DeviceNameExisted.as_str(), NAME_TWICE),
                Err(refusal) => refused_device(params, &refusal.code_text(), &refusal.rule),
            };
            refused.insert(place, refusal);
        }

        let ids = match fresh.is_empty() {
            true => Vec::new(),
            false => self.deps().store.register_devices(&product, &fresh, now).await?,
        };
        let mut results: BTreeMap<usize, _> =
            refused.into_iter().map(|(place, refusal)| (place, Err(refusal))).collect();
        for (((place, id), new), secret) in places.into_iter().zip(ids).zip(fresh).zip(secrets) {
            let result = match id {
                Some(id) => Ok(RegisteredDevice { id, name: new.name, nickname: new.nickname, secret }),
                None => Err(refused_device(&devices[place], Code::DeviceNameExisted.as_str(), NAME_TAKEN)),
            };
            results.insert(place, result);
        }
        Ok(results.into_values().collect())
    }

    /// A name that nobody thought of.
    pub(super) fn made_up_name(&self) -> Result<DeviceName, CommandError> {
        DeviceName::parse(&self.deps().ids.text(MADE_UP_NAME_CHARS))
            .map_err(|bad| CommandError::Internal(Box::new(bad)))
    }

    /// A device with a fresh secret, sealed and as it is told once.
    pub(super) fn new_device(
        &self,
        product: &Product,
        draft: DeviceDraft,
    ) -> Result<(NewDevice, String), CommandError> {
        let name = match draft.name {
            Some(name) => name,
            None => self.made_up_name()?,
        };
        let mut secret = [0; DEVICE_SECRET_BYTES];
        self.deps().ids.fill(&mut secret);
        let sealed_secret = self.seal(&device_context(&product.new.key, &name), &secret);
        Ok((NewDevice { name, nickname: draft.nickname, sealed_secret }, hex(&secret)))
    }
}

const NAME_TAKEN: &str = "the product has a device of this name already";
const NAME_TWICE: &str = "the name stands in the call more than once";

fn refused_device(params: &DeviceParams, code: &str, message: &str) -> RefusedDevice {
    // Never more than a name may have: the rest is the caller's own to know.
    let name = params.device_name.iter().flat_map(|name| name.chars()).take(64).collect();
    RefusedDevice { name, code: code.to_owned(), message: message.to_owned() }
}
