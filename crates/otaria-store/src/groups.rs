//! Groups: who is in, and who was in when a job was made.

use async_trait::async_trait;
use otaria_core::ids::{AccountNo, DeviceId, DeviceName, GroupId, GroupNo, ModuleName, ProductNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{
    AddedToGroup, Candidate, Device, GROUPS_OF_DEVICE_MAX, Group, GroupFilter, Groups, NewGroup, StoreError,
};
use sqlx::{query, query_scalar};

use crate::sql::devices::DRAW;
use crate::sql::{deletion, groups as sql};
use crate::sqlite::errors::{failed, taken};
use crate::sqlite::{Lane, SqliteStore, Tx};
use crate::{devices, rows, text};

#[async_trait]
impl Groups for SqliteStore {
    async fn create_group(&self, group: &NewGroup, now: Timestamp) -> Result<Group, StoreError> {
        let (doing, new) = ("making a group", group.clone());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                if let Some(parent) = new.parent {
                    expect(tx, parent, Some(new.account), Some(false)).await?;
                }
                let insert = query_scalar(sql::NEW)
                    .bind(new.id.as_str())
                    .bind(new.account.0)
                    .bind(new.name.as_str())
                    .bind(new.description.as_str())
                    .bind(new.parent.map(|parent| parent.0))
                    .bind(now.millis())
                    .bind(new.expression.as_ref().map(|rule| rule.as_str()));
                let no = insert.fetch_one(&mut tx.conn).await.map_err(taken(doing, "group"))?;
                Ok(Group { no: GroupNo(no), new, device_count: 0, created_at: now })
            })
        });
        work.await
    }

    async fn group(&self, account: AccountNo, id: &GroupId) -> Result<Option<Group>, StoreError> {
        let one = query(sql::GROUP).bind(id.as_str()).bind(account.0);
        self.row("reading a group", one).await?.as_ref().map(rows::group).transpose()
    }

    async fn describe_group(&self, group: GroupNo, description: &str) -> Result<(), StoreError> {
        let (doing, description) = ("describing a group", description.to_owned());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let change = query(sql::DESCRIBE).bind(group.0).bind(description);
                found(change.execute(&mut tx.conn).await.map_err(failed(doing))?.rows_affected())
            })
        });
        work.await
    }

    async fn delete_group(&self, group: GroupNo) -> Result<(), StoreError> {
        let doing = "deleting a group";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let delete = query(sql::DELETE).bind(group.0).execute(&mut tx.conn).await;
                found(delete.map_err(failed(doing))?.rows_affected())?;
                let orphan = query(sql::ORPHAN).bind(group.0).execute(&mut tx.conn).await;
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
        let page = query(sql::GROUPS).bind(account.0).bind(name).bind(parent);
        let page = page.bind(before.map_or(i64::MAX, |before| before.0)).bind(int(limit)).bind(int(skip));
        let page = self.rows(doing, page.bind(filter.dynamic)).await?;
        let total = query(sql::COUNT).bind(account.0).bind(name).bind(parent).bind(filter.dynamic);
        let total: i64 = self.value(doing, total).await?;
        Ok((page.iter().map(rows::group).collect::<Result<_, _>>()?, total.unsigned_abs()))
    }

    async fn add_to_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<AddedToGroup, StoreError> {
        let devices = devices.to_vec();
        let work = self.writer.run(Lane::Api, devices.len(), "filling a group", move |tx| {
            Box::pin(async move { add(tx, group, devices).await })
        });
        work.await
    }

    async fn take_from_group(&self, group: GroupNo, devices: &[DeviceId]) -> Result<u64, StoreError> {
        let (doing, devices) = ("emptying a group", devices.to_vec());
        let work = self.writer.run(Lane::Api, devices.len(), doing, move |tx| {
            Box::pin(async move {
                expect(tx, group, None, Some(false)).await?;
                let set = text::numbers(devices.iter().map(|device| device.0));
                let take = query(sql::TAKE).bind(group.0).bind(set).bind(draw(tx).await?);
                let left = take.execute(&mut tx.conn).await.map_err(failed(doing))?.rows_affected();
                count_devices(tx, group, -left.cast_signed()).await?;
                Ok(left)
            })
        });
        work.await
    }

    async fn devices_of_group(
        &self,
        group: GroupNo,
        after: Option<DeviceId>,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<Device>, StoreError> {
        let page = query(sql::DEVICES).bind(group.0).bind(place(after)).bind(int(limit)).bind(int(skip));
        self.rows("listing a group's devices", page).await?.iter().map(rows::device).collect()
    }

    async fn active_in_group(&self, group: GroupNo) -> Result<u64, StoreError> {
        let count = query(sql::ACTIVE).bind(group.0);
        let count: i64 = self.value("counting a group's devices", count).await?;
        Ok(count.unsigned_abs())
    }

    async fn groups_of_device(&self, device: DeviceId) -> Result<Vec<Group>, StoreError> {
        let groups = query(sql::OF_DEVICE).bind(device.0);
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
        let scan = query(sql::SCAN)
            .bind(group.0)
            .bind(place(after))
            .bind(upto)
            .bind(product.0)
            .bind(int(limit))
            .bind(rows::module_column(module).to_owned());
        let found: Option<String> = self.value("scanning a group", scan).await?;
        devices::scanned(found.as_deref())
    }

    async fn purge_gone(&self, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
        let work = self.writer.run(Lane::Expansion, limit, "forgetting what is gone", move |tx| {
            Box::pin(async move { purge(tx, before, limit).await })
        });
        work.await
    }
}

async fn add(tx: &mut Tx, group: GroupNo, mut devices: Vec<DeviceId>) -> Result<AddedToGroup, StoreError> {
    let doing = "filling a group";
    expect(tx, group, None, Some(false)).await?;
    devices.sort_unstable();
    devices.dedup();
    let set = text::numbers(devices.iter().map(|device| device.0));
    let standing = query_scalar(sql::STANDING).bind(group.0).bind(set).fetch_one(&mut tx.conn).await;
    let standing: Option<String> = standing.map_err(failed(doing))?;
    let (mut outcome, mut fresh) = (AddedToGroup::default(), Vec::new());
    for [device, groups, is_in] in text::lines::<3>("group_member", standing.as_deref())? {
        if is_in == 1 {
            outcome.already += 1;
        } else if groups >= int(GROUPS_OF_DEVICE_MAX) {
            outcome.exceeding += 1;
        } else {
            outcome.added += 1;
            fresh.push(device);
        }
    }
    let add = query(sql::ADD).bind(group.0).bind(text::numbers(fresh)).bind(draw(tx).await?);
    add.execute(&mut tx.conn).await.map_err(failed(doing))?;
    count_devices(tx, group, outcome.added.cast_signed()).await?;
    Ok(outcome)
}

/// Takes a device out of all its groups.
pub(crate) async fn leave_all(tx: &mut Tx, device: DeviceId) -> Result<(), StoreError> {
    let doing = "emptying groups";
    let groups = query_scalar(sql::LEAVING).bind(device.0).fetch_one(&mut tx.conn).await;
    let groups: Option<String> = groups.map_err(failed(doing))?;
    let groups = text::lines::<1>("group_member", groups.as_deref())?;
    if groups.is_empty() {
        return Ok(());
    }
    let set = text::numbers(groups.iter().map(|[group]| *group));
    let leave = query(sql::LEAVE).bind(device.0).bind(set).bind(draw(tx).await?);
    leave.execute(&mut tx.conn).await.map_err(failed(doing))?;
    for [group] in groups {
        count_devices(tx, GroupNo(group), -1).await?;
    }
    Ok(())
}

async fn purge(tx: &mut Tx, before: Timestamp, limit: usize) -> Result<u64, StoreError> {
    let doing = "forgetting what is gone";
    let mut left = u64::try_from(limit).unwrap_or(u64::MAX);
    for statement in [sql::FORGET_REMOVED, sql::FORGET_MEMBERS, sql::FORGET_GROUPS] {
        let forget = query(statement).bind(left.cast_signed()).execute(&mut tx.conn).await;
        left -= forget.map_err(failed(doing))?.rows_affected();
    }
    let forget = query(deletion::FORGET_DEVICES).bind(left.cast_signed()).bind(before.millis());
    left -= forget.execute(&mut tx.conn).await.map_err(failed(doing))?.rows_affected();
    Ok(u64::try_from(limit).unwrap_or(u64::MAX) - left)
}

/// Refuses when a group is not there, or not this account's.
pub(crate) async fn expect(
    tx: &mut Tx,
    group: GroupNo,
    account: Option<AccountNo>,
    dynamic: Option<bool>,
) -> Result<(), StoreError> {
    let alive = query_scalar(sql::ALIVE).bind(group.0).bind(account.map(|account| account.0)).bind(dynamic);
    let alive: bool = alive.fetch_one(&mut tx.conn).await.map_err(failed("reading a group"))?;
    if alive { Ok(()) } else { Err(StoreError::NotFound { what: "group" }) }
}

/// The number of a change.
async fn draw(tx: &mut Tx) -> Result<i64, StoreError> {
    let before = query_scalar(DRAW).bind("group").bind(1_i64).fetch_one(&mut tx.conn).await;
    let before: i64 = before.map_err(failed("drawing a number"))?;
    Ok(before + 1)
}

async fn count_devices(tx: &mut Tx, group: GroupNo, more: i64) -> Result<(), StoreError> {
    let count = query(sql::COUNT_DEVICES).bind(group.0).bind(more).execute(&mut tx.conn).await;
    count.map(drop).map_err(failed("counting a group's devices"))
}

pub(crate) fn found(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::NotFound { what: "group" }) } else { Ok(()) }
}

pub(crate) fn place(after: Option<DeviceId>) -> i64 {
    after.map_or(i64::MIN, |after| after.0)
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
