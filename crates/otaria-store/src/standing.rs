//! Devices that join dynamic jobs by themselves: when they inform a version, and when they are registered.
//!
//! Never looks at a device that did neither, so the cost follows the reports and not the fleet.
//!
//! Invariant: a device joins in the transaction that keeps its version, so whatever becomes of the process
//! afterwards, it is not forgotten (I16).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use otaria_core::expression::GroupExpression;
use otaria_core::ids::{DeviceId, DeviceName, InformedVersion, JobNo, ProductKey, Version};
use otaria_core::job::{DynamicMode, OverwriteMode, Target};
use otaria_core::scope::Scope;
use otaria_core::time::Timestamp;
use otaria_ports::store::{CreateJob, NewTask, StoreError, VersionReport};
use sqlx::sqlite::SqliteRow;
use sqlx::{query, query_scalar};

use crate::counters::Counters;
use crate::expand::{self, Rules};
use crate::names::names;
use crate::rows::{Columns, Of, module_column, read_target};
use crate::sql::{jobs, standing as sql};
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::text;

const DOING: &str = "taking devices into dynamic jobs";

/// A device that informs a version.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) product: i64,
    pub(crate) device: DeviceId,
    /// As it is kept: empty for the default.
    pub(crate) module: String,
    pub(crate) version: InformedVersion,
}

impl Arrival {
    pub(crate) fn of(VersionReport { version, .. }: &VersionReport, product: i64) -> Self {
        Self {
            product,
            device: version.device,
            module: module_column(&version.module).to_owned(),
            version: version.version.clone(),
        }
    }
}

/// A dynamic job that takes devices.
pub(crate) struct Strategy {
    pub(crate) rules: Rules,
    product: i64,
    key: ProductKey,
    mode: DynamicMode,
    target: Target,
    dest: Version,
    package_source: Option<Version>,
    pub(crate) group: Option<GroupExpression>,
}

impl Strategy {
    pub(crate) fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let of = Of { table: "job", row };
        let version = |text: &str| Version::parse(text).ok();
        Ok(Self {
            rules: Rules::read(JobNo(of.get("no")?), &of)?,
            product: of.get("product_no")?,
            key: of.parsed("key", |text: &str| ProductKey::parse(text).ok())?,
            mode: of.parsed("dynamic_mode", DynamicMode::from_code)?,
            target: of.parsed("target", read_target)?,
            dest: of.parsed("dest_version", version)?,
            package_source: of.maybe("src_version", version)?,
            group: of.maybe("expression", |text: &str| GroupExpression::parse(text).ok())?,
        })
    }

    fn takes(&self, version: Option<&InformedVersion>, name: Option<&DeviceName>) -> bool {
        let scope = Scope::new(&self.dest, self.target.src_versions(), self.package_source.as_ref());
        let is_member = |group: &GroupExpression| name.is_some_and(|name| group.takes(&self.key, name));
        scope.takes(version) && self.group.as_ref().is_none_or(is_member)
    }
}

/// Refuses a dynamic job beside which it may not stand.
pub(crate) async fn expect_room(
    tx: &mut Tx,
    job: &CreateJob,
    source: Option<i64>,
    firmware: &SqliteRow,
) -> Result<(), StoreError> {
    let unavailable = failed("making a job");
    let firmware: i64 = Of { table: "firmware", row: firmware }.get("no")?;
    let other = query_scalar(jobs::STRATEGY_OF).bind(firmware).fetch_one(&mut tx.conn).await;
    if other.map_err(unavailable)? {
        return Err(StoreError::Exists { what: "dynamic job" });
    }
    let Some(group) = source else { return Ok(()) };
    let beside = query(jobs::STRATEGY_OF_GROUP).bind(group).fetch_optional(&mut tx.conn).await;
    let Some(row) = beside.map_err(unavailable)? else { return Ok(()) };
    beside_another(job, &row)
}

/// Refuses a dynamic job of a group beside another one that says otherwise.
pub(crate) fn beside_another(job: &CreateJob, row: &impl Columns) -> Result<(), StoreError> {
    let of = Of { table: "job", row };
    if of.parsed("overwrite", OverwriteMode::from_code)? != job.new.policy.overwrite {
        return Err(StoreError::Conflict { what: "overwrite mode" });
    }
    if (of.get::<i64>("multi_module")? == 1) != job.new.policy.multi_module {
        return Err(StoreError::Conflict { what: "multi-module mode" });
    }
    Ok(())
}

/// Tasks to be made, by job.
pub(crate) type Joining = BTreeMap<JobNo, Vec<NewTask>>;

/// Which job each of those who informed a version joins.
pub(crate) fn arriving(
    strategies: &[Strategy],
    arrivals: &[Arrival],
    names: &HashMap<DeviceId, DeviceName>,
) -> Joining {
    let mut joining = Joining::new();
    for Arrival { product, device, module, version } in arrivals {
        // The latest first: it wins.
        let first = strategies.iter().find(|strategy| {
            strategy.product == *product
                && strategy.rules.module == *module
                && strategy.takes(Some(version), names.get(device))
        });
        if let Some(strategy) = first {
            let task = NewTask { device: *device, src_version: Some(version.clone()) };
            joining.entry(strategy.rules.job).or_default().push(task);
        }
    }
    joining
}

/// Which jobs each of those who were just registered joins: one for each module.
pub(crate) fn registering(strategies: &[Strategy], devices: &[(DeviceId, &DeviceName)]) -> Joining {
    let modules: BTreeSet<&str> = strategies.iter().map(|strategy| strategy.rules.module.as_str()).collect();
    let mut joining = Joining::new();
    for module in modules {
        for (device, name) in devices {
            let first = strategies.iter().find(|strategy| {
                strategy.mode == DynamicMode::NowAndLater
                    && strategy.rules.module == module
                    && strategy.takes(None, Some(name))
            });
            if let Some(strategy) = first {
                let task = NewTask { device: *device, src_version: None };
                joining.entry(strategy.rules.job).or_default().push(task);
            }
        }
    }
    joining
}

/// Lets devices that informed versions join; returns those whose new tasks may be pushed, sorted.
pub(crate) async fn arrive(
    tx: &mut Tx,
    arrivals: &[Arrival],
    now: Timestamp,
) -> Result<Vec<(JobNo, DeviceId)>, StoreError> {
    let strategies = strategies(tx, arrivals.iter().map(|arrival| arrival.product)).await?;
    if strategies.is_empty() {
        return Ok(Vec::new());
    }
    let asks_names = strategies.iter().any(|strategy| strategy.group.is_some());
    let named = arrivals.iter().filter(|_| asks_names).map(|arrival| arrival.device);
    let names = if asks_names { names(tx, named).await? } else { HashMap::new() };
    let joining = arriving(&strategies, arrivals, &names);
    join(tx, &strategies, joining, now).await
}

/// Lets devices join that were just registered and never informed a version.
pub(crate) async fn register(
    tx: &mut Tx,
    product: i64,
    devices: &[(DeviceId, &DeviceName)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let strategies = strategies(tx, [product]).await?;
    let joining = registering(&strategies, devices);
    // Nobody of them is connected yet: they are looked at when they come.
    join(tx, &strategies, joining, now).await.map(drop)
}

async fn strategies(
    tx: &mut Tx,
    products: impl IntoIterator<Item = i64>,
) -> Result<Vec<Strategy>, StoreError> {
    let products: BTreeSet<i64> = products.into_iter().collect();
    if products.is_empty() {
        return Ok(Vec::new());
    }
    let found = query(sql::STRATEGIES).bind(text::numbers(products)).fetch_all(&mut tx.conn).await;
    found.map_err(failed(DOING))?.iter().map(Strategy::read).collect()
}

/// Makes the tasks of those that have none in the job, and in whose way nothing stands that stays.
async fn join(
    tx: &mut Tx,
    strategies: &[Strategy],
    mut joining: Joining,
    now: Timestamp,
) -> Result<Vec<(JobNo, DeviceId)>, StoreError> {
    let mut joined = Vec::new();
    let mut counters = Counters::default();
    for strategy in strategies.iter().rev() {
        let rules = &strategy.rules;
        let Some(mut tasks) = joining.remove(&rules.job) else { continue };
        tasks.sort_unstable_by_key(|task| task.device);
        tasks.dedup_by_key(|task| task.device);
        let devices = tasks.iter().map(|task| task.device);
        let seen = expand::seen_before(tx, rules.job, devices).await?;
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
        let grow = query_scalar(sql::GROW).bind(rules.job.0).bind(more).fetch_one(&mut tx.conn).await;
        let before: i64 = grow.map_err(failed(DOING))?;
        let first = before.unsigned_abs() + 1;
        let queued = expand::add(tx, rules, &tasks, &conflicts, (first, now), &mut counters).await?;
        joined.extend(queued.into_iter().map(|device| (rules.job, device)));
    }
    counters.write(tx).await?;
    joined.sort_unstable();
    Ok(joined)
}
