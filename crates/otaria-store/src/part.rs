//! Parts of fleets: how many devices match when a job is made, and who they were.
//!
//! Invariant: while a part is drawn and expanded, what a device loses (its version, or its place in the
//! product) is kept with the job, in the transaction that takes it away. So a scan tells at any later
//! moment what was.

use std::collections::BTreeMap;
use std::fmt::Write;

use otaria_core::gray::Last;
use otaria_core::ids::{DeviceId, DeviceName, InformedVersion, JobNo, ProductNo};
use otaria_core::scope::Scope;
use otaria_ports::store::{Candidate, Drawn, StoreError};
use sqlx::{query, query_scalar};

use crate::rows::{Columns, Of};
use crate::sql::part as sql;
use crate::sqlite::errors::failed;
use crate::sqlite::{SqliteStore, Tx};
use crate::text;

/// How many devices of a product are in scope, by kept counts.
pub(crate) async fn matching(
    tx: &mut Tx,
    product: ProductNo,
    module: &str,
    scope: &Scope<'_>,
) -> Result<u64, StoreError> {
    let unavailable = failed("counting who matches");
    let devices = query_scalar(sql::DEVICES).bind(product.0).fetch_one(&mut tx.conn).await;
    let devices: i64 = devices.map_err(unavailable)?;
    let found = query(sql::VERSIONS).bind(product.0).bind(module).fetch_all(&mut tx.conn).await;
    in_scope(devices, &found.map_err(unavailable)?, scope)
}

/// How many are in scope, of so many devices with these versions.
pub(crate) fn in_scope(
    devices: i64,
    versions: &[impl Columns],
    scope: &Scope<'_>,
) -> Result<u64, StoreError> {
    let mut counts: Vec<(InformedVersion, u64)> = Vec::new();
    for row in versions {
        let of = Of { table: "version_count", row };
        counts.push((of.parsed("version", |text: &str| InformedVersion::parse(text).ok())?, of.count("n")?));
    }
    Ok(scope.count(devices.unsigned_abs(), counts.iter().map(|(version, n)| (version, *n))))
}

/// What a device is about to lose: product, module, device, and the version that it has now.
pub(crate) type Lost<'v> = (i64, &'v str, DeviceId, Option<&'v str>);

/// A job that asks for what was when it was made.
pub(crate) struct Asking {
    pub(crate) job: JobNo,
    product: i64,
    upto: i64,
    module: String,
}

impl Asking {
    pub(crate) fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let of = Of { table: "job", row };
        Ok(Self {
            job: JobNo(of.get("no")?),
            product: of.get("product_no")?,
            upto: of.get("upto")?,
            module: of.get("module")?,
        })
    }

    /// Whether it asks for this.
    pub(crate) fn means(&self, (product, module, device, _): &Lost<'_>) -> bool {
        self.product == *product && self.module == *module && device.n() <= self.upto
    }
}

/// The draws under way of these products.
pub(crate) async fn asking(
    tx: &mut Tx,
    products: impl IntoIterator<Item = i64>,
) -> Result<Vec<Asking>, StoreError> {
    let found = query(sql::DRAWS).bind(text::numbers(products)).fetch_all(&mut tx.conn).await;
    found.map_err(failed("looking for draws"))?.iter().map(Asking::read).collect()
}

/// Keeps versions that devices are about to lose.
pub(crate) async fn remember(tx: &mut Tx, asking: &[Asking], lost: &[Lost<'_>]) -> Result<(), StoreError> {
    for asking in asking {
        let meant = lost.iter().filter(|lost| asking.means(lost));
        let set = text::array(meant, |out, (_, _, device, version)| {
            let _ = write!(out, "[{},", device.0); // Writing to a String cannot fail.
            match version {
                Some(version) => text::quote(out, version),
                None => out.push_str("null"),
            }
            out.push(']');
        });
        let remember = query(sql::REMEMBER).bind(asking.job.0).bind(set).execute(&mut tx.conn).await;
        remember.map_err(failed("keeping what was"))?;
    }
    Ok(())
}

/// Keeps what draws ask of a device that is about to be deleted.
pub(crate) async fn remember_deleted(tx: &mut Tx, device: DeviceId) -> Result<(), StoreError> {
    let found = query(sql::VERSION_OF).bind(device.0).fetch_all(&mut tx.conn).await;
    let found = found.map_err(failed("keeping what was"))?;
    let Some((product, versions)) = versions_of(&found)? else { return Ok(()) };
    let asking = asking(tx, [product]).await?;
    remember(tx, &asking, &all_of(product, device, &versions, &asking)).await
}

/// Versions by module.
type Versions = BTreeMap<String, String>;

/// A device's product, and its versions.
pub(crate) fn versions_of(rows: &[impl Columns]) -> Result<Option<(i64, Versions)>, StoreError> {
    let mut versions = Versions::new();
    let mut product = None;
    for row in rows {
        let of = Of { table: "device", row };
        product = Some(of.get::<i64>("product_no")?);
        if let (Some(module), Some(version)) = (of.get("module")?, of.get("version")?) {
            versions.insert(module, version);
        }
    }
    Ok(product.map(|product| (product, versions)))
}

/// What a device loses that is about to be deleted.
pub(crate) fn all_of<'v>(
    product: i64,
    device: DeviceId,
    versions: &'v Versions,
    asking: &'v [Asking],
) -> Vec<Lost<'v>> {
    let lost = |asking: &'v Asking| {
        let version = versions.get(&asking.module).map(String::as_str);
        (product, asking.module.as_str(), device, version)
    };
    asking.iter().map(lost).collect()
}

/// A page of those who were devices when a job was made.
pub(crate) async fn scan(
    store: &SqliteStore,
    job: JobNo,
    after: Option<&DeviceName>,
    limit: usize,
) -> Result<Vec<Drawn>, StoreError> {
    let doing = "scanning for a draw";
    let Some(row) = store.row(doing, query(sql::JOB).bind(job.0)).await? else { return Ok(Vec::new()) };
    let of = Of { table: "job", row: &row };
    let scan = query(sql::SCAN)
        .bind(job.0)
        .bind(of.get::<i64>("product_no")?)
        .bind(of.get::<i64>("upto")?)
        .bind(after.map_or("", DeviceName::as_str).to_owned())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .bind(of.get::<String>("module")?);
    let found: Option<String> = store.value(doing, scan).await?;
    let corrupt = |line: &str| StoreError::Corrupt { table: "device", reason: format!("no row: {line:?}") };
    let lines = found.as_deref().unwrap_or_default().lines();
    let mut rows: Vec<Drawn> =
        lines.map(|line| drawn(line).ok_or_else(|| corrupt(line))).collect::<Result<_, _>>()?;
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

fn drawn(line: &str) -> Option<Drawn> {
    let mut parts = line.split('\t');
    let mut part = || parts.next();
    let (id, name, gone, was_other, was, is) = (part()?, part()?, part()?, part()?, part()?, part()?);
    let version = |text: &str| match text {
        "" => Some(None),
        text => InformedVersion::parse(text).ok().map(Some),
    };
    let (was, is) = (version(was)?, version(is)?);
    Some(Drawn {
        name: DeviceName::parse(name).ok()?,
        version_then: if was_other == "1" { was } else { is.clone() },
        candidate: Candidate { device: DeviceId(id.parse().ok()?), version: is },
        gone: gone == "1",
    })
}

/// Keeps the outcome of a draw, unless one is kept.
pub(crate) async fn put_draw(tx: &mut Tx, job: JobNo, last: Last) -> Result<Option<Last>, StoreError> {
    let unavailable = failed("keeping a draw");
    let put = query(sql::PUT_DRAW).bind(job.0).bind(last.rank.cast_signed()).bind(last.device.0);
    put.execute(&mut tx.conn).await.map_err(unavailable)?;
    let kept = query(sql::DRAW).bind(job.0).fetch_optional(&mut tx.conn).await.map_err(unavailable)?;
    kept.as_ref().map(draw).transpose()
}

/// A draw that is kept.
pub(crate) fn draw(row: &impl Columns) -> Result<Last, StoreError> {
    let of = Of { table: "job", row };
    let rank = of.get::<i64>("part_rank")?.cast_unsigned();
    Ok(Last { rank, device: DeviceId(of.get("part_device")?) })
}
