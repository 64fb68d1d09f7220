//! Groups: sets of devices of one account, of any of its products. A static group is a list; a dynamic one is a
//! rule (`otaria_core::expression`), and nothing is kept for its members.
//!
//! Invariant: a job keeps the members that its group had when the job was made. Each change of a membership
//! draws a number; who was in at a number can be told until no expansion asks for it any more.

use async_trait::async_trait;
use otaria_core::expression::GroupExpression;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, GroupId, GroupNo, ModuleName, ProductNo};
use otaria_core::time::Timestamp;

use super::{Candidate, Device, StoreError};

/// Groups that one device may be in.
pub const GROUPS_OF_DEVICE_MAX: usize = 10;

/// A group to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Its public id, unique.
    pub id: GroupId,
    /// Whose.
    pub account: AccountNo,
    /// Unique in the account, 4–30 characters.
    pub name: String,
    /// Free text, at most 100 characters.
    pub description: String,
    /// The group that it stands in; a dynamic one stands in none.
    pub parent: Option<GroupNo>,
    /// Of a dynamic group: its rule.
    pub expression: Option<GroupExpression>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub no: GroupNo,
    /// What it was made as; its description as it is now.
    pub new: NewGroup,
    /// Devices in it: a kept count. 0 for a dynamic group, whose members are nobody's list.
    pub device_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Which groups to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// Whose name begins so.
    pub name: Option<String>,
    /// That stand in this one.
    pub parent: Option<GroupNo>,
    /// Only dynamic ones, or only static ones.
    pub dynamic: Option<bool>,
}

/// What became of devices that were to be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddedToGroup {
    /// Are in now and were not before.
    pub added: u64,
    /// Were in already.
    pub already: u64,
    /// Are in [`GROUPS_OF_DEVICE_MAX`] groups already.
    pub exceeding: u64,
}

/// Keeps groups.
#[async_trait]
pub trait Groups: Send + Sync {
    /// Makes a group; `Exists` when its name is taken in the account, `NotFound` when the one that it is to
    /// stand in is not the account's.
    async fn create_group(&self, group: &NewGroup, now: Timestamp) -> Result<Group, StoreError>;

    /// An account's group.
    async fn group(&self, account: AccountNo, id: &GroupId) -> Result<Option<Group>, StoreError>;

    /// Gives a group another description; `NotFound` when it is not there.
    async fn describe_group(&self, group: GroupNo, description: &str) -> Result<(), StoreError>;

    /// Deletes a group, however large it is: its devices stay, its name is free. `NotFound` when it is not
    /// there. Groups that stand in it stay, and stand in none.
    async fn delete_group(&self, group: GroupNo) -> Result<(), StoreError>;

    /// An account's groups, newest first: made before `before`, then without the first `skip`, at most
    /// `limit`; and how many match in all.
    async fn groups(
        &self,
        account: AccountNo,
        filter: &GroupFilter,
        before: Option<GroupNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Group>, u64), StoreError>;

    /// Adds devices, each once; unknown ones are passed over. `NotFound` when there is no such static group. At
    /// most [`super::BATCH_MAX`].
    async fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<AddedToGroup, StoreError>;

    /// Takes devices out; how many were in. `NotFound` when there is no such group. At most
    /// [`super::BATCH_MAX`].
    async fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<u64, StoreError>;

    /// A group's devices after one, in the order of their ids: without the first `skip`, at most `limit`.
    async fn devices_of_group(
        &self,
        group: GroupNo,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError>;

    /// How many of a group's devices have connected at least once. Looks at all of them.
    async fn active_in_group(&self, group: GroupNo) -> Result<u64, StoreError>;

    /// The groups that a device is in, by number.
    async fn groups_of_device(&self, device: DeviceId) -> Result<Vec<Group>, StoreError>;

    /// Those members of a group at a membership number that are devices of a product now, after `after` by
    /// id, at most `limit`. Does not hold up writers. Also of a group that was deleted meanwhile.
    async fn scan_group(
        &self,
        group: GroupNo,
        upto: i64,
        product: ProductNo,
        module: &ModuleName,
        after: Option<DeviceId>,
        limit: usize,
    ) -> Result<Vec<(DeviceName, Candidate)>, StoreError>;

    /// Forgets up to `limit` rows of what once was in a group and no expansion asks for any more, of deleted
    /// groups, and of devices deleted before `before` of which no task and no draw speaks any more; how many,
    /// 0 when nothing is left.
    async fn purge_gone(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError>;
}
