//! Dynamic groups: a rule in the place of a list.
//!
//! Nothing is kept for a member, so whoever asks for the members has them found: the devices of the products
//! that the rule leaves open are walked in the order of product and name, 1,000 at a time. A call that counts
//! costs what that walk costs, and its memory does not grow with it; a page that follows another one begins where
//! that one ended, and keeps its count. Jobs ask the rule about one device at a time and never walk.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use otaria_core::expression::GroupExpression;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, ProductNo};
use otaria_core::rules::{Code, DynamicGroupParams, Refusal, device_name};
use otaria_core::time::Timestamp;
use otaria_ports::store::{BATCH_MAX, Device, Group, NewGroup, Product, Role};

use super::super::{Caller, Commands, DeviceStatus, Listed};
use crate::error::CommandError;

/// Which members to list, as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DynamicMemberParams {
    pub group_id: Option<String>,
    pub product_key: Option<String>,
    pub device_name: Option<String>,
    pub fuzzy_name: Option<bool>,
    pub status: Option<String>,
}

/// A member as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicMember {
    /// The device.
    pub device: Device,
    /// Its product.
    pub product: Arc<Product>,
    /// The state of its connection.
    pub status: DeviceStatus,
}

/// Where a page of members begins: after this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicPlace {
    /// Its product.
    pub product: ProductNo,
    /// How many members the first page counted.
    pub total: u64,
    /// Its name.
    pub name: DeviceName,
}

impl DynamicPlace {
    /// Reads what a place is written as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (product, total, name) = (parts.next()?, parts.next()?, parts.next()?);
        let product = ProductNo(product.parse().ok()?);
        Some(Self { product, total: total.parse().ok()?, name: DeviceName::parse(name).ok()? })
    }
}

impl fmt::Display for DynamicPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.product.0, self.total, self.name)
    }
}

/// Which members are meant.
struct Filter {
    begins: Option<String>,
    status: Option<DeviceStatus>,
}

/// Devices in the order of product and name, and never more than a batch of them in memory.
struct Walk<'a> {
    commands: &'a Commands,
    account: AccountNo,
    /// Products still to be walked.
    products: VecDeque<Arc<Product>>,
    /// Where the account's other products begin, if they are to be walked too.
    others: Option<ProductNo>,
    /// Where the next batch of the first product begins.
    after: Option<DeviceName>,
    /// Where the walk begins, until it has.
    begin: Option<(ProductNo, DeviceName)>,
    /// Only the devices of this name.
    only: Option<DeviceName>,
}

impl Commands {
    /// CreateDeviceDynamicGroup.
    ///
    /// # Errors
    /// `GroupNameExisted`, or the rule that a parameter breaks; of an expression also where.
    pub async fn create_dynamic_group(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &DynamicGroupParams,
    ) -> Result<Group, CommandError> {
        caller.needs(Role::Operator)?;
        let draft = params.parse()?;
        let new = NewGroup {
            id: self.new_group_id()?,
            account: caller.account,
            name: draft.name,
            description: draft.description,
            parent: None,
            expression: Some(draft.expression),
        };
        self.make_group(&new, now).await
    }

    /// QueryDynamicGroupDevices: after `after`, then without the first `skip`, at most `limit`; and how many
    /// there are in all, which is counted where no `after` tells it. For what it costs see the module.
    ///
    /// # Errors
    /// `GroupNotFound`, a static group, `ProductNotFound`, or a filter that breaks its rule.
    pub async fn devices_of_dynamic_group(
        &self,
        caller: &Caller,
        params: &DynamicMemberParams,
        after: Option<&DynamicPlace>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<DynamicMember, DynamicPlace>, CommandError> {
        let id = params.group_id.as_deref().unwrap_or_default();
        let (_, rule) = self.own_dynamic_group(caller, "GroupId", id).await?;
        let status = status_of(params.status.as_deref())?;
        let mut walk = self.walk(caller, &rule).await?;
        if let Some(key) = params.product_key.as_ref().filter(|key| !key.is_empty()) {
            let product = self.product_of(caller, Some(key)).await?;
            walk.others = None;
            // When the rule names products, this one must be among them; otherwise it matches nothing.
            let is_open = rule.products().is_none_or(|keys| keys.contains(&product.new.key));
            walk.products = is_open.then(|| Arc::new(product)).into_iter().collect();
        }
        let name = params.device_name.as_ref().filter(|name| !name.is_empty());
        let begins = match (name, params.fuzzy_name) {
            (Some(name), Some(true)) => Some(name.clone()),
            (Some(name), _) => {
                walk.only = Some(device_name(name)?);
                None
            }
            (None, _) => None,
        };
        let filter = Filter { begins, status };

        if let Some(place) = after {
            walk.begin_after(place);
        }
        let (mut rows, mut met) = (Vec::new(), 0);
        while let Some((product, devices)) = walk.next().await? {
            for (device, status) in self.meant(&rule, &filter, &product, devices).await? {
                met += 1;
                if met > skip && rows.len() <= limit {
                    rows.push((device, Arc::clone(&product), status));
                }
            }
            if after.is_some() && rows.len() > limit {
                break;
            }
        }
        let total = after.map_or(met as u64, |place| place.total);
        let place = |(device, product, _): &(Device, Arc<Product>, _)| DynamicPlace {
            product: product.no,
            total,
            name: device.name.clone(),
        };
        let Listed { rows, total, next } = Listed::cut(rows, total, limit, place);
        Ok(Listed { rows: self.member_views(rows).await?, total, next })
    }

    /// How many devices follow from a rule: all, those that have connected at least once, those that are
    /// connected.
    pub(super) async fn count_members(
        &self,
        caller: &Caller,
        rule: &GroupExpression,
    ) -> Result<(u64, u64, u64), CommandError> {
        let (mut all, mut active, mut online) = (0, 0, 0);
        let mut walk = self.walk(caller, rule).await?;
        while let Some((product, devices)) = walk.next().await? {
            let key = &product.new.key;
            let members = devices.into_iter().filter(|device| rule.takes(key, &device.name));
            let mut ids: Vec<DeviceId> = Vec::new();
            for device in members {
                active += u64::from(device.active_at.is_some());
                ids.push(device.id);
            }
            all += ids.len() as u64;
            online += self.deps().presence.sessions(&ids).await?.into_iter().flatten().count() as u64;
        }
        Ok((all, active, online))
    }

    /// A walk over the caller's devices that a rule leaves open.
    async fn walk<'a>(&'a self, caller: &Caller, rule: &GroupExpression) -> Result<Walk<'a>, CommandError> {
        let mut named = Vec::new();
        let keys = rule.products();
        for key in keys.iter().flatten() {
            let product = self.deps().store.product(key).await?;
            named.extend(product.filter(|product| product.new.account == caller.account));
        }
        named.sort_unstable_by_key(|product| product.no);
        named.dedup_by_key(|product| product.no);
        Ok(Walk {
            commands: self,
            account: caller.account,
            products: named.into_iter().map(Arc::new).collect(),
            others: keys.is_none().then_some(ProductNo(0)),
            after: None,
            begin: None,
            only: None,
        })
    }

    /// Those of some devices of a product that follow from the rule and pass the filter; with the state of
    /// their connection where that was asked for.
    async fn meant(
        &self,
        rule: &GroupExpression,
        filter: &Filter,
        product: &Product,
        devices: Vec<Device>,
    ) -> Result<Vec<(Device, Option<DeviceStatus>)>, CommandError> {
        let key = &product.new.key;
        let begins = |name: &DeviceName| filter.begins.as_ref().is_none_or(|b| name.as_str().starts_with(b));
        let found = devices.into_iter().filter(|one| begins(&one.name) && rule.takes(key, &one.name));
        let Some(wanted) = filter.status else { return Ok(found.map(|device| (device, None)).collect()) };
        let found: Vec<Device> = found.collect();
        let ids: Vec<DeviceId> = found.iter().map(|device| device.id).collect();
        let sessions = self.deps().presence.sessions(&ids).await?;
        let found = found.into_iter().zip(sessions).map(|(device, session)| {
            let status = DeviceStatus::of(&device, session);
            (device, Some(status))
        });
        Ok(found.filter(|(_, status)| *status == Some(wanted)).collect())
    }

    async fn member_views(
        &self,
        rows: Vec<(Device, Arc<Product>, Option<DeviceStatus>)>,
    ) -> Result<Vec<DynamicMember>, CommandError> {
        let ids: Vec<DeviceId> = rows.iter().map(|(device, ..)| device.id).collect();
        let sessions = self.deps().presence.sessions(&ids).await?;
        let view = |((device, product, status), session): ((Device, Arc<Product>, _), _)| {
            // What it was chosen by is what is shown.
            let status = Option::unwrap_or_else(status, || DeviceStatus::of(&device, session));
            DynamicMember { device, product, status }
        };
        Ok(rows.into_iter().zip(sessions).map(view).collect())
    }
}

impl Walk<'_> {
    /// Goes on where an earlier walk was.
    fn begin_after(&mut self, place: &DynamicPlace) {
        self.products.retain(|product| product.no >= place.product);
        self.others = self.others.map(|_| ProductNo(place.product.0.saturating_sub(1)));
        self.begin = Some((place.product, place.name.clone()));
    }

    /// The next devices, of one product.
    async fn next(&mut self) -> Result<Option<(Arc<Product>, Vec<Device>)>, CommandError> {
        let store = &self.commands.deps().store;
        loop {
            let Some(product) = self.products.front().cloned() else {
                let Some(after) = self.others else { return Ok(None) };
                let (products, _) = store.products(self.account, after, BATCH_MAX).await?;
                self.others = products.last().map(|product| product.no);
                self.products = products.into_iter().map(Arc::new).collect();
                continue;
            };
            if let Some((of, name)) = self.begin.take() {
                // A product that was deleted meanwhile has no devices before the place either.
                self.after = Some(name).filter(|_| of == product.no);
            }
            let devices: Vec<Device> = match &self.only {
                Some(name) => {
                    let found = store.device(product.no, name).await?;
                    found
                        .filter(|one| self.after.as_ref().is_none_or(|after| *after < one.name))
                        .into_iter()
                        .collect()
                }
                None => store.devices(product.no, self.after.as_ref(), BATCH_MAX).await?,
            };
            self.after = devices.last().map(|device| device.name.clone());
            if devices.len() < BATCH_MAX {
                self.products.pop_front();
                self.after = None;
            }
            if !devices.is_empty() {
                return Ok(Some((product, devices)));
            }
        }
    }
}

fn status_of(text: Option<&str>) -> Result<Option<DeviceStatus>, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let known = DeviceStatus::ALL.into_iter().find(|status| status.as_str() == text);
    let rule = "must be ONLINE, OFFLINE, UNACTIVE or DISABLE";
    let known = known.ok_or_else(|| Refusal::invalid(Code::InvalidParameter, "Status", rule))?;
    Ok(Some(known))
}
