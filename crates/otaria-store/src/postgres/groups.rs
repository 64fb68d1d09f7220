//! Groups: who is in, and who was in when a job was made.
//!
//! Invariant: a group changes, and a job draws its membership number, only while its lock is held alone. So
//! what a change's number says of before and after a job is what the commits say.

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, GroupId, GroupNo, ModuleName, ProductNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    AddedToGroup, Candidate, Device, GROUPS_OF_DEVICE_MAX, Group, GroupFilter, Groups, NewGroup, StoreError,
};
use sqlx::{query, query_scalar};

use super::devices::{int, scanned};
use super::sql::groups as own;
use super::{Lock, PgTx, PostgresStore, raced};
use crate::errors::{failed, taken};
use crate::groups::{found, place};
use crate::rows::{self, Of};
use crate::sql::{deletion, groups as sql};

#[async_trait]
impl Groups for PostgresStore {
    async fn create_group(&self, group: &NewGroup, now: Timestamp) -> Result<Group, StoreError> {
        let work = self.tx("making a group", |tx| Box::pin(async move { create(tx, group, now).await }));
        work.await
    }

    async fn group(&self, account: AccountNo, id: &GroupId) -> Result<Option<Group>, StoreError> {
        let one = || query(sql::GROUP).bind(id.as_str()).bind(account.0);
        self.row("reading a group", one).await?.as_ref().map(rows::group).transpose()
    }

    async fn describe_group(&self, group: GroupNo, description: &str) -> Result<(), StoreError> {
        let doing = "describing a group";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let change = query(sql::DESCRIBE).bind(group.0).bind(description);
                found(change.execute(tx.conn()).await.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn delete_group(&self, group: GroupNo) -> Result<(), StoreError> {
        let doing = "deleting a group";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                tx.lock(Lock::Group(group)).await?;
                let delete = query(sql::DELETE).bind(group.0).execute(tx.conn()).await;
                found(delete.map_err(failed(doing))?.rows_affected())?;
                let orphan = query(sql::ORPHAN).bind(group.0).execute(tx.conn()).await;
                orphan.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn groups(
        &self,
        account: AccountNo,
        filter: &GroupFilter,
        before: Option<GroupNo>,
        skip: usize,
        limit: usize,
    ) -> Result<(Vec<Group>, u64), StoreError> {
        let doing = "listing groups";
        let (name, parent) = (filter.name.as_deref(), filter.parent.map(|parent| parent.0));
        let before = before.map_or(i64::MAX, |before| before.0);
        let page = || {
            let page = query(sql::GROUPS).bind(account.0).bind(name).bind(parent).bind(before);
            page.bind(int(limit)).bind(int(skip)).bind(filter.dynamic)
        };
        let page = self.rows(doing, page).await?;
        let total = || query(sql::COUNT).bind(account.0).bind(name).bind(parent).bind(filter.dynamic);
        let total: i64 = self.value(doing, total).await?;
        Ok((page.iter().map(rows::group).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<AddedToGroup, StoreError> {
        let devices = &sorted(devices);
        let work = self.tx("filling a group", |tx| Box::pin(async move { add(tx, group, devices).await }));
        work.await
    }

    async fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<u64, StoreError> {
        let devices = &sorted(devices);
        let work = self.tx("emptying a group", |tx| Box::pin(async move { take(tx, group, devices).await }));
        work.await
    }

    async fn devices_of_group(
        &self,
        group: GroupNo,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let page = || query(sql::DEVICES).bind(group.0).bind(place(after)).bind(int(limit)).bind(int(skip));
        self.rows("listing a group's devices", page).await?.iter().map(rows::device).collect()
    }

    async fn active_in_group(&self, group: GroupNo) -> Result<u64, StoreError> {
        let count = || query(own::ACTIVE).bind(group.0);
        let count: i64 = self.value("counting a group's devices", count).await?;
        Ok(count.unsigned_abs())
    }

    async fn groups_of_device(&self, device: DeviceId) -> Result<Vec<Group>, StoreError> {
        let groups = || query(sql::OF_DEVICE).bind(device.0);
        self.rows("listing a device's groups", groups).await?.iter().map(rows::group).collect()
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
        let module = rows::module_column(module);
        let scan = || {
            let scan = query(own::SCAN).bind(group.0).bind(place(after)).bind(upto).bind(product.0);
            scan.bind(int(limit)).bind(module)
        };
        self.rows("scanning a group", scan).await?.iter().map(scanned).collect()
    }

    async fn purge_gone(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let work = self
            .long_tx("forgetting what is gone", |tx| Box::pin(async move { purge(tx, before, limit).await }));
        work.await
    }
}

fn sorted(devices: &[DeviceId]) -> Vec<i64> {
    let mut devices: Vec<i64> = devices.iter().map(|device| device.0).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

async fn create(tx: &mut PgTx<'_>, group: &NewGroup, now: Timestamp) -> Result<Group, StoreError> {
    if let Some(parent) = group.parent {
        // So that it is not deleted meanwhile.
        tx.lock(Lock::Group(parent)).await?;
        expect(tx, parent, Some(group.account), Some(false)).await?;
    }
    let insert = query_scalar(sql::NEW)
        .bind(group.id.as_str())
        .bind(group.account.0)
        .bind(group.name.as_str())
        .bind(group.description.as_str())
        .bind(group.parent.map(|parent| parent.0))
        .bind(now.millis())
        .bind(group.expression.as_ref().map(|rule| rule.as_str()));
    let no = insert.fetch_one(tx.conn()).await.map_err(taken("making a group", "group"))?;
    Ok(Group { no: GroupNo(no), new: group.clone(), device_count: 0, created_at: now })
}

async fn add(tx: &mut PgTx<'_>, group: GroupNo, devices: &[i64]) -> Result<AddedToGroup, StoreError> {
    let unavailable = failed("filling a group");
    tx.lock(Lock::Group(group)).await?;
    expect(tx, group, None, Some(false)).await?;
    // A device may be on its way into another group as well.
    let known = query_scalar(own::HOLD_DEVICES).bind(devices).fetch_all(tx.conn()).await;
    let known: Vec<i64> = known.map_err(unavailable)?;
    let standing = query(own::STANDING).bind(group.0).bind(known).fetch_all(tx.conn()).await;
    let (mut outcome, mut fresh) = (AddedToGroup::default(), Vec::new());
    for row in &standing.map_err(unavailable)? {
        let of = Of { table: "group_member", row };
        if of.get::<i64>("is_in")? == 1 {
            outcome.already += 1;
        } else if of.get::<i64>("groups")? >= int(GROUPS_OF_DEVICE_MAX) {
            outcome.exceeding += 1;
        } else {
            outcome.added += 1;
            fresh.push(of.get::<i64>("id")?);
        }
    }
    let number = draw(tx).await?;
    let add = query(own::ADD).bind(group.0).bind(fresh).bind(number).execute(tx.conn()).await;
    add.map_err(unavailable)?;
    count_devices(tx, group, outcome.added.cast_signed()).await?;
    Ok(outcome)
}

async fn take(tx: &mut PgTx<'_>, group: GroupNo, devices: &[i64]) -> Result<u64, StoreError> {
    tx.lock(Lock::Group(group)).await?;
    expect(tx, group, None, Some(false)).await?;
    let number = draw(tx).await?;
    let take = query(own::TAKE).bind(group.0).bind(devices).bind(number).execute(tx.conn()).await;
    let left = take.map_err(failed("emptying a group"))?.rows_affected();
    count_devices(tx, group, -left.cast_signed()).await?;
    Ok(left)
}

/// The groups that a device is in, each locked.
pub(super) async fn hold_all(tx: &mut PgTx<'_>, device: DeviceId) -> Result<Vec<i64>, StoreError> {
    let groups = query_scalar(own::LEAVING).bind(device.0).fetch_all(tx.conn()).await;
    let groups: Vec<i64> = groups.map_err(failed("emptying groups"))?;
    for group in &groups {
        tx.lock(Lock::Group(GroupNo(*group))).await?;
    }
    Ok(groups)
}

/// Takes a device that is deleted in this transaction out of all its groups, which are locked.
pub(super) async fn leave_all(tx: &mut PgTx<'_>, device: DeviceId, held: &[i64]) -> Result<(), StoreError> {
    let doing = "emptying groups";
    let number = draw(tx).await?;
    let left = query_scalar(own::LEAVE).bind(device.0).bind(number).fetch_all(tx.conn()).await;
    let mut left: Vec<i64> = left.map_err(failed(doing))?;
    left.sort_unstable();
    if left.iter().any(|group| !held.contains(group)) {
        return Err(raced(doing));
    }
    for group in left {
        count_devices(tx, GroupNo(group), -1).await?;
    }
    Ok(())
}

async fn purge(tx: &mut PgTx<'_>, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let unavailable = failed("forgetting what is gone");
    let mut left = int(limit);
    for statement in [sql::FORGET_REMOVED, sql::FORGET_MEMBERS, sql::FORGET_GROUPS] {
        let forget = query(statement).bind(left).execute(tx.conn()).await;
        left -= forget.map_err(unavailable)?.rows_affected().cast_signed();
    }
    let forget = query(deletion::FORGET_DEVICES).bind(left).bind(before.millis()).execute(tx.conn()).await;
    left -= forget.map_err(unavailable)?.rows_affected().cast_signed();
    Ok((int(limit) - left).unsigned_abs())
}

/// Refuses when a group is not there, or not this account's, or not of this kind.
pub(crate) async fn expect(
    tx: &mut PgTx<'_>,
    group: GroupNo,
    account: Option<AccountNo>,
    dynamic: Option<bool>,
) -> Result<(), StoreError> {
    let alive = query_scalar(sql::ALIVE).bind(group.0).bind(account.map(|account| account.0)).bind(dynamic);
    let alive: bool = alive.fetch_one(tx.conn()).await.map_err(failed("reading a group"))?;
    if alive { Ok(()) } else { Err(StoreError::NotFound { what: "group" }) }
}

/// The number of a change.
async fn draw(tx: &mut PgTx<'_>) -> Result<i64, StoreError> {
    query_scalar(own::DRAW).fetch_one(tx.conn()).await.map_err(failed("drawing a number"))
}

async fn count_devices(tx: &mut PgTx<'_>, group: GroupNo, more: i64) -> Result<(), StoreError> {
    let count = query(sql::COUNT_DEVICES).bind(group.0).bind(more).execute(tx.conn()).await;
    count.map(drop).map_err(failed("counting a group's devices"))
}
