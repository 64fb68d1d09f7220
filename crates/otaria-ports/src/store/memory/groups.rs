use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, GroupId, GroupNo, ModuleName, ProductNo};
use otaria_core::time::Timestamp;

use super::MemoryStore;
use super::tables::Tables;
use crate::store::{
    AddedToGroup, Candidate, Device, GROUPS_OF_DEVICE_MAX, Group, GroupFilter, Groups, NewGroup, SourceKind,
    StoreError,
};

/// The groups, and when who was in.
#[derive(Default)]
pub(super) struct GroupTable {
    rows: BTreeMap<GroupNo, GroupRow>,
    last: i64,
    /// The last membership number that was drawn.
    last_change: i64,
}

struct GroupRow {
    group: Group,
    is_deleted: bool,
    /// A device may come and go: when it came, and when it went.
    members: BTreeMap<DeviceId, Vec<(i64, Option<i64>)>>,
}

impl GroupRow {
    fn holds(&self, device: DeviceId) -> bool {
        self.members.get(&device).is_some_and(|spans| spans.iter().any(|(_, until)| until.is_none()))
    }

    fn present(&self) -> impl Iterator<Item = DeviceId> {
        self.members.keys().copied().filter(|device| self.holds(*device))
    }

    /// Ends a membership; `true` when there was one.
    fn leave(&mut self, device: DeviceId, change: i64) -> bool {
        let spans = self.members.get_mut(&device).into_iter().flatten();
        let left = spans.filter(|(_, until)| until.is_none()).map(|(_, until)| *until = Some(change)).count();
        self.group.device_count -= left as u64;
        left > 0
    }
}

#[async_trait]
impl Groups for MemoryStore {
    async fn create_group(&self, new: &NewGroup, now: Timestamp) -> Result<Group, StoreError> {
        self.transact("making a group", |tables| {
            let groups = &mut tables.groups;
            let is_parent =
                |group: &Group| group.new.account == new.account && group.new.expression.is_none();
            if new.parent.is_some_and(|no| !groups.alive(no).is_some_and(is_parent)) {
                return Err(StoreError::NotFound { what: "group" });
            }
            if groups.rows.values().any(|row| row.group.new.id == new.id)
                || groups.of_account(new.account).any(|group| group.new.name == new.name)
            {
                return Err(StoreError::Exists { what: "group" });
            }
            groups.last += 1;
            let no = GroupNo(groups.last);
            let group = Group { no, new: new.clone(), device_count: 0, created_at: now };
            let row = GroupRow { group: group.clone(), is_deleted: false, members: BTreeMap::new() };
            groups.rows.insert(no, row);
            Ok(group)
        })
    }

    async fn group(&self, account: AccountNo, id: &GroupId) -> Result<Option<Group>, StoreError> {
        self.transact("reading a group", |tables| {
            Ok(tables.groups.of_account(account).find(|group| group.new.id == *id).cloned())
        })
    }

    async fn describe_group(&self, group: GroupNo, description: &str) -> Result<(), StoreError> {
        self.transact("describing a group", |tables| {
            description.clone_into(&mut tables.groups.alive_mut(group)?.group.new.description);
            Ok(())
        })
    }

    async fn delete_group(&self, group: GroupNo) -> Result<(), StoreError> {
        self.transact("deleting a group", |tables| {
            tables.groups.alive_mut(group)?.is_deleted = true;
            for row in tables.groups.rows.values_mut() {
                row.group.new.parent = row.group.new.parent.filter(|parent| *parent != group);
            }
            Ok(())
        })
    }

    async fn groups(
        &self,
        account: AccountNo,
        filter: &GroupFilter,
        before: Option<GroupNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Group>, u64), StoreError> {
        self.transact("listing groups", |tables| {
            let is_meant = |group: &&Group| {
                filter.name.as_ref().is_none_or(|name| group.new.name.starts_with(name.as_str()))
                    && filter.parent.is_none_or(|parent| group.new.parent == Some(parent))
                    && filter.dynamic.is_none_or(|dynamic| group.new.expression.is_some() == dynamic)
            };
            let meant = || tables.groups.of_account(account).filter(is_meant);
            let page = meant().rev().filter(|group| before.is_none_or(|before| group.no < before));
            Ok((page.skip(skip).take(limit).cloned().collect(), meant().count() as u64))
        })
    }

    async fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<AddedToGroup, StoreError> {
        self.transact("filling a group", |tables| {
            tables.groups.list_mut(group)?;
            let mut outcome = AddedToGroup::default();
            let devices: BTreeSet<DeviceId> = devices.iter().copied().collect();
            for device in devices.into_iter().filter(|device| tables.devices.contains_key(device)) {
                let groups = &mut tables.groups;
                if groups.alive_mut(group)?.holds(device) {
                    outcome.already += 1;
                } else if groups.of_device(device).count() >= GROUPS_OF_DEVICE_MAX {
                    outcome.exceeding += 1;
                } else {
                    groups.last_change += 1;
                    let change = groups.last_change;
                    let row = groups.alive_mut(group)?;
                    row.members.entry(device).or_default().push((change, None));
                    row.group.device_count += 1;
                    outcome.added += 1;
                }
            }
            Ok(outcome)
        })
    }

    async fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<u64, StoreError> {
        self.transact("emptying a group", |tables| {
            let change = tables.groups.last_change + 1;
            let row = tables.groups.list_mut(group)?;
            let left = devices.iter().filter(|device| row.leave(**device, change)).count();
            tables.groups.last_change = change;
            Ok(left as u64)
        })
    }

    async fn devices_of_group(
        &self,
        group: GroupNo,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        self.transact("listing a group's devices", |tables| {
            let row = tables.groups.rows.get(&group).filter(|row| !row.is_deleted);
            let devices = row.into_iter().flat_map(GroupRow::present);
            let devices = devices.filter(|device| after.is_none_or(|after| *device > after));
            Ok(devices.skip(skip).take(limit).map(|device| tables.devices[&device].clone()).collect())
        })
    }

    async fn active_in_group(&self, group: GroupNo) -> Result<u64, StoreError> {
        self.transact("counting a group's devices", |tables| {
            let devices = tables.groups.rows.get(&group).into_iter().flat_map(GroupRow::present);
            Ok(devices.filter(|device| tables.devices[device].active_at.is_some()).count() as u64)
        })
    }

    async fn groups_of_device(&self, device: DeviceId) -> Result<Vec<Group>, StoreError> {
        self.transact("listing a device's groups", |tables| {
            Ok(tables.groups.of_device(device).cloned().collect())
        })
    }

    async fn scan_group(
        &self,
        group: GroupNo,
        upto: i64,
        product: ProductNo,
        module: &ModuleName,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceName, Candidate)>, StoreError> {
        self.transact("scanning a group", |tables| {
            let Some(row) = tables.groups.rows.get(&group) else { return Ok(Vec::new()) };
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let members = row.members.range((from, Bound::Unbounded)).filter(|(_, spans)| {
                spans.iter().any(|(since, until)| *since <= upto && until.is_none_or(|until| until > upto))
            });
            let devices = members.filter_map(|(device, _)| tables.devices.get(device));
            let devices = devices.filter(|device| device.product == product).take(limit);
            Ok(devices.map(|device| (device.name.clone(), tables.candidate(device, module))).collect())
        })
    }

    // A deleted device that nothing speaks of any more is not to be seen: this store keeps it.
    async fn purge_gone(&self, _: Timestamp, limit: usize) -> Result<u64, StoreError> {
        self.transact("forgetting memberships", |tables| Ok(tables.purge_groups(limit)))
    }
}

impl Tables {
    fn purge_groups(&mut self, limit: usize) -> u64 {
        let asked: BTreeSet<(GroupNo, i64)> = self
            .jobs
            .values()
            .filter(|row| !row.job.expansion.complete)
            .filter_map(|row| match row.job.source {
                SourceKind::Group { group, upto } => Some((group, upto)),
                SourceKind::Names
                | SourceKind::File { .. }
                | SourceKind::Product
                | SourceKind::Part { .. }
                | SourceKind::Standing { .. } => None,
            })
            .collect();
        let mut left = limit;
        for (no, row) in &mut self.groups.rows {
            let is_asked = |until: i64| asked.iter().any(|(group, upto)| group == no && *upto < until);
            for spans in row.members.values_mut() {
                spans.retain(|(_, until)| {
                    let is_over =
                        until.map_or(row.is_deleted && !is_asked(i64::MAX), |until| !is_asked(until));
                    let goes = is_over && left > 0;
                    left -= usize::from(goes);
                    !goes
                });
            }
            row.members.retain(|_, spans| !spans.is_empty());
        }
        self.groups.rows.retain(|no, row| {
            let goes = row.is_deleted
                && row.members.is_empty()
                && !asked.iter().any(|(group, _)| group == no)
                && left > 0;
            left -= usize::from(goes);
            !goes
        });
        (limit - left) as u64
    }
}

impl GroupTable {
    pub(super) fn alive(&self, no: GroupNo) -> Option<&Group> {
        self.rows.get(&no).filter(|row| !row.is_deleted).map(|row| &row.group)
    }

    fn alive_mut(&mut self, no: GroupNo) -> Result<&mut GroupRow, StoreError> {
        let row = self.rows.get_mut(&no).filter(|row| !row.is_deleted);
        row.ok_or(StoreError::NotFound { what: "group" })
    }

    /// A group that is a list.
    fn list_mut(&mut self, no: GroupNo) -> Result<&mut GroupRow, StoreError> {
        let row = self.alive_mut(no)?;
        let is_list = row.group.new.expression.is_none();
        if is_list { Ok(row) } else { Err(StoreError::NotFound { what: "group" }) }
    }

    /// The membership number now.
    pub(super) const fn change(&self) -> i64 {
        self.last_change
    }

    fn of_account(&self, account: AccountNo) -> impl DoubleEndedIterator<Item = &Group> {
        let alive = self.rows.values().filter(|row| !row.is_deleted).map(|row| &row.group);
        alive.filter(move |group| group.new.account == account)
    }

    fn of_device(&self, device: DeviceId) -> impl Iterator<Item = &Group> {
        let rows = self.rows.values().filter(|row| !row.is_deleted);
        rows.filter(move |row| row.holds(device)).map(|row| &row.group)
    }

    /// Takes a device out of all groups.
    pub(super) fn forget(&mut self, device: DeviceId) {
        self.last_change += 1;
        for row in self.rows.values_mut() {
            row.leave(device, self.last_change);
        }
    }
}
