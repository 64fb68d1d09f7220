//! Versions that devices informed, and how many devices informed which.
//!
//! What is kept is looked at without a lock and replaced by compare-and-set: two gateways seldom speak of the
//! same device at once, and then the later one looks again. 2026-11-22, server and caller on 2 cores: 70–90
//! thousand first versions a second, 1,000 a call.
//!
//! Invariant: `version_count` is the count of `device_module` by product, module and version after every
//! commit, so how many devices match a job is known without looking at them. It moves while the product is
//! shared, so who holds the product alone reads what is committed.

use std::collections::BTreeSet;

use otaria_core::ids::ProductNo;
use otaria_core::task::ReportOrder;
use otaria_ports::store::{StoreError, VersionReport};
use sqlx::query;

use super::sql::versions as sql;
use super::{Lock, PgTx, part, raced};
use crate::errors::failed;
use crate::rows::{self, Of};
use crate::standing::Arrival;
use crate::versions::{Counts, Kept, changed, latest};

const DOING: &str = "keeping versions";

/// Keeps versions that are newer than what is kept; of several of one module the latest counts. Those of
/// unknown devices are passed over. Returns the versions that devices have, also those that were kept before,
/// and the counts to be written when all else is.
pub(crate) async fn keep(
    tx: &mut PgTx<'_>,
    versions: &[VersionReport],
) -> Result<(Vec<Arrival>, Counts), StoreError> {
    let mut counts = Counts::default();
    if versions.is_empty() {
        return Ok((Vec::new(), counts));
    }
    let latest = latest(versions);
    let kept = kept(tx, &latest).await?;
    let mut newer: Vec<(&VersionReport, Kept)> = latest
        .into_iter()
        .zip(kept)
        .filter_map(|(report, kept)| Some((report, kept?)))
        .filter(|(report, kept)| kept.order.is_none_or(|order| order <= report.order))
        .collect();
    let products: BTreeSet<i64> = newer.iter().map(|(_, kept)| kept.product).collect();
    for product in &products {
        tx.share(Lock::Product(ProductNo(*product))).await?;
    }
    let arrivals = newer.iter().map(|(report, kept)| Arrival::of(report, kept.product)).collect();
    newer.retain(|(report, kept)| kept.order != Some(report.order));
    let lost = changed(&newer, &mut counts);
    if !lost.is_empty() {
        let asking = part::asking(tx, products).await?;
        part::remember(tx, &asking, &lost).await?;
    }
    replace(tx, &newer).await?;
    Ok((arrivals, counts))
}

/// What is kept of each, `None` for unknown devices.
async fn kept(tx: &mut PgTx<'_>, reports: &[&VersionReport]) -> Result<Vec<Option<Kept>>, StoreError> {
    let devices: Vec<i64> = reports.iter().map(|report| report.version.device.0).collect();
    let modules: Vec<&str> =
        reports.iter().map(|report| rows::module_column(&report.version.module)).collect();
    let found = query(sql::KEPT).bind(devices).bind(modules).fetch_all(tx.conn()).await;
    let mut kept: Vec<Option<Kept>> = reports.iter().map(|_| None).collect();
    for row in &found.map_err(failed(DOING))? {
        let of = Of { table: "device_module", row };
        let place = of.parsed("place", |place: i64| usize::try_from(place - 1).ok())?;
        let order = match of.get::<Option<i64>>("report_session")? {
            Some(session) => {
                Some(ReportOrder { session, n: of.parsed("report_n", |n: i64| u32::try_from(n).ok())? })
            }
            None => None,
        };
        let row = Kept { product: of.get("product_no")?, order, version: of.get("version")? };
        *kept.get_mut(place).ok_or_else(|| of.corrupt("place"))? = Some(row);
    }
    Ok(kept)
}

/// Writes the versions over what was seen; all of them, or the work begins anew.
async fn replace(tx: &mut PgTx<'_>, newer: &[(&VersionReport, Kept)]) -> Result<(), StoreError> {
    let (later, first): (Vec<_>, Vec<_>) = newer.iter().partition(|(_, kept)| kept.order.is_some());
    for (rows, statement) in [(later, sql::REPLACE), (first, sql::FIRST)] {
        if rows.is_empty() {
            continue;
        }
        let versions = || rows.iter().map(|(report, _)| &report.version);
        let orders = || rows.iter().map(|(report, _)| report.order);
        let write = query(statement)
            .bind(versions().map(|version| version.device.0).collect::<Vec<_>>())
            .bind(versions().map(|version| rows::module_column(&version.module)).collect::<Vec<_>>())
            .bind(versions().map(|version| version.version.as_str()).collect::<Vec<_>>())
            .bind(versions().map(|version| version.at.millis()).collect::<Vec<_>>())
            .bind(orders().map(|order| order.session).collect::<Vec<_>>())
            .bind(orders().map(|order| i64::from(order.n)).collect::<Vec<_>>());
        let seen: Vec<ReportOrder> = rows.iter().filter_map(|(_, kept)| kept.order).collect();
        let write = if seen.is_empty() {
            write
        } else {
            write
                .bind(seen.iter().map(|order| order.session).collect::<Vec<_>>())
                .bind(seen.iter().map(|order| i64::from(order.n)).collect::<Vec<_>>())
        };
        let written = write.execute(tx.conn()).await.map_err(failed(DOING))?.rows_affected();
        if usize::try_from(written) != Ok(rows.len()) {
            return Err(raced(DOING));
        }
    }
    Ok(())
}

/// Writes changes of counts: the last thing that a transaction does, since everybody meets in these rows.
pub(crate) async fn count(tx: &mut PgTx<'_>, counts: Counts) -> Result<(), StoreError> {
    let changes = counts.changes();
    if changes.is_empty() {
        return Ok(());
    }
    let counted = query(sql::COUNT)
        .bind(changes.keys().map(|(product, ..)| *product).collect::<Vec<_>>())
        .bind(changes.keys().map(|(_, module, _)| module.as_str()).collect::<Vec<_>>())
        .bind(changes.keys().map(|(.., version)| version.as_str()).collect::<Vec<_>>())
        .bind(changes.values().copied().collect::<Vec<_>>());
    for row in &counted.fetch_all(tx.conn()).await.map_err(failed(DOING))? {
        let of = Of { table: "version_count", row };
        if of.get::<i64>("n")? != 0 {
            continue;
        }
        // Nobody has it any more: versions that come and go leave nothing behind.
        let forget = query(sql::FORGET_NONE).bind(of.get::<i64>("product_no")?);
        let forget = forget.bind(of.get::<String>("module")?).bind(of.get::<String>("version")?);
        forget.execute(tx.conn()).await.map_err(failed(DOING))?;
    }
    Ok(())
}
