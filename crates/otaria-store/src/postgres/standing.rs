//! Devices that join dynamic jobs by themselves: when they inform a version, and when they are registered.
//!
//! Never looks at a device that did neither, so the cost follows the reports and not the fleet. The product is
//! shared by now, and a dynamic job is made while its product is held alone: so every strategy that is
//! committed is seen. Only who has something to make holds more: the jobs, so that none is ended meanwhile, their
//! cursors, which places in a job come from, and the places of the devices' shards.
//!
//! Invariant: a device joins in the transaction that keeps its version, so whatever becomes of the process
//! afterwards, it is not forgotten (I16).

use std::collections::{BTreeSet, HashMap};

use otaria_core::ids::{DeviceId, DeviceName, JobNo};
use otaria_core::time::Timestamp;
use otaria_ports::store::{CreateJob, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{query, query_scalar};

use super::counters::Counters;
use super::names::names;
use super::sql::standing as own;
use super::{PgTx, changes, expand, jobs};
use crate::errors::failed;
use crate::rows::Of;
use crate::sql::jobs::{STRATEGY_OF, STRATEGY_OF_GROUP};
use crate::sql::standing::GROW;
use crate::standing::{Arrival, Joining, Strategy, arriving, beside_another, registering};

const DOING: &str = "taking devices into dynamic jobs";

/// Refuses a dynamic job beside which it may not stand. Product and group are held alone.
pub(crate) async fn expect_room(
    tx: &mut PgTx<'_>,
    job: &CreateJob,
    group: Option<i64>,
    firmware: &PgRow,
) -> Result<(), StoreError> {
    let unavailable = failed("making a job");
    let firmware: i64 = Of { table: "firmware", row: firmware }.get("no")?;
    let other = query_scalar(STRATEGY_OF).bind(firmware).fetch_one(tx.conn()).await;
    if other.map_err(unavailable)? {
        return Err(StoreError::Exists { what: "dynamic job" });
    }
    let Some(group) = group else { return Ok(()) };
    let beside = query(STRATEGY_OF_GROUP).bind(group).fetch_optional(tx.conn()).await;
    beside.map_err(unavailable)?.map_or(Ok(()), |row| beside_another(job, &row))
}

/// Tasks to be made, with what they need held.
#[derive(Default)]
pub(crate) struct Held {
    strategies: Vec<Strategy>,
    joining: Joining,
}

/// Finds out who of those that inform versions may join, and holds what that needs.
pub(crate) async fn arrive(tx: &mut PgTx<'_>, arrivals: &[Arrival]) -> Result<Held, StoreError> {
    let products: BTreeSet<i64> = arrivals.iter().map(|arrival| arrival.product).collect();
    let strategies = strategies(tx, &products).await?;
    if strategies.is_empty() {
        return Ok(Held::default());
    }
    let asks_names = strategies.iter().any(|strategy| strategy.group.is_some());
    let named = arrivals.iter().filter(|_| asks_names).map(|arrival| arrival.device);
    let names = if asks_names { names(tx, named).await? } else { HashMap::new() };
    let joining = arriving(&strategies, arrivals, &names);
    hold(tx, &products, joining).await
}

/// Lets devices join that were just registered and never informed a version.
pub(crate) async fn register(
    tx: &mut PgTx<'_>,
    product: i64,
    devices: &[(DeviceId, &DeviceName)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let products = BTreeSet::from([product]);
    let strategies = strategies(tx, &products).await?;
    let joining = registering(&strategies, devices);
    let held = hold(tx, &products, joining).await?;
    let mut counters = Counters::default();
    // Nobody of them is connected yet: they are looked at when they come.
    join(tx, held, &mut counters, now).await?;
    counters.write(tx).await
}

async fn strategies(tx: &mut PgTx<'_>, products: &BTreeSet<i64>) -> Result<Vec<Strategy>, StoreError> {
    if products.is_empty() {
        return Ok(Vec::new());
    }
    let products: Vec<i64> = products.iter().copied().collect();
    let found = query(own::STRATEGIES).bind(products).fetch_all(tx.conn()).await;
    found.map_err(failed(DOING))?.iter().map(Strategy::read).collect()
}

/// Leaves out who has a task in the job already; for the rest holds the jobs and looks again which of them
/// still take devices, then holds cursors and places.
async fn hold(tx: &mut PgTx<'_>, products: &BTreeSet<i64>, mut joining: Joining) -> Result<Held, StoreError> {
    for (job, tasks) in &mut joining {
        tasks.sort_unstable_by_key(|task| task.device);
        tasks.dedup_by_key(|task| task.device);
        let devices = tasks.iter().map(|task| task.device);
        let seen = expand::seen_before(tx, *job, devices, (true, false)).await?;
        tasks.retain(|task| !seen.contains(&task.device));
    }
    joining.retain(|_, tasks| !tasks.is_empty());
    if joining.is_empty() {
        return Ok(Held::default());
    }
    let numbers: Vec<i64> = joining.keys().map(|job| job.0).collect();
    jobs::hold(tx, &numbers).await?;
    let strategies = strategies(tx, products).await?;
    joining.retain(|job, _| strategies.iter().any(|strategy| strategy.rules.job == *job));
    let numbers: Vec<i64> = joining.keys().map(|job| job.0).collect();
    let held = query(own::HOLD_CURSORS).bind(numbers).fetch_all(tx.conn()).await;
    held.map_err(failed(DOING))?;
    changes::places(tx, joining.values().flatten().map(|task| task.device)).await?;
    Ok(Held { strategies, joining })
}

/// Makes the tasks of those that have none in the job, and in whose way nothing stands that stays; returns those
/// that may be pushed, sorted. The caller writes the counts.
pub(crate) async fn join(
    tx: &mut PgTx<'_>,
    held: Held,
    counters: &mut Counters,
    now: Timestamp,
) -> Result<Vec<(JobNo, DeviceId)>, StoreError> {
    let Held { strategies, mut joining } = held;
    let mut joined = Vec::new();
    for strategy in strategies.iter().rev() {
        let rules = &strategy.rules;
        let Some(mut tasks) = joining.remove(&rules.job) else { continue };
        let devices = tasks.iter().map(|task| task.device);
        let seen = expand::seen_before(tx, rules.job, devices, (true, false)).await?;
        tasks.retain(|task| !seen.contains(&task.device));
        let mut conflicts = expand::conflicts(tx, &tasks, rules).await?;
        tasks.retain(|task| {
            !conflicts.busy.contains(&task.device) && !conflicts.beaten.contains(&task.device)
        });
        conflicts.busy.clear();
        if tasks.is_empty() {
            continue;
        }
        let more = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
        let grow = query_scalar(GROW).bind(rules.job.0).bind(more).fetch_one(tx.conn()).await;
        let before: i64 = grow.map_err(failed(DOING))?;
        let first = before.unsigned_abs() + 1;
        let added = expand::add(tx, rules, &tasks, &conflicts, (first, now), counters).await?;
        joined.extend(added.queued.into_iter().map(|device| (rules.job, device)));
    }
    joined.sort_unstable();
    Ok(joined)
}
