//! Versions that devices informed, and how many devices informed which.
//!
//! Invariant: `version_count` is the count of `device_module` by product, module and version after every
//! commit, so how many devices match a job is known without looking at them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use otaria_core::ids::{DeviceId, ModuleName};
use otaria_core::task::ReportOrder;
use otaria_ports::store::{StoreError, VersionReport};
use sqlx::{query, query_scalar};

use crate::rows::Of;
use crate::sql::versions as sql;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::standing::Arrival;
use crate::{part, rows, text};

const DOING: &str = "keeping versions";

/// Changes of `version_count`, by product, module and version.
#[derive(Default)]
pub(crate) struct Counts(BTreeMap<(i64, String, String), i64>);

impl Counts {
    pub(crate) fn add(&mut self, product: i64, module: String, version: String, n: i64) {
        *self.0.entry((product, module, version)).or_default() += n;
    }

    /// Those that are any.
    pub(crate) fn changes(mut self) -> BTreeMap<(i64, String, String), i64> {
        self.0.retain(|_, n| *n != 0);
        self.0
    }

    pub(crate) async fn write(self, tx: &mut Tx) -> Result<(), StoreError> {
        let changes = self.changes();
        if changes.is_empty() {
            return Ok(());
        }
        let set = text::array(&changes, |out, ((product, module, version), n)| {
            let _ = write!(out, r#"[{product},"{module}","#); // Writing to a String cannot fail.
            text::quote(out, version);
            let _ = write!(out, ",{n}]");
        });
        let counted = query(sql::COUNT).bind(set).fetch_all(&mut tx.conn).await.map_err(failed(DOING))?;
        for row in &counted {
            let of = Of { table: "version_count", row };
            if of.get::<i64>("n")? != 0 {
                continue;
            }
            // Nobody has it any more: versions that come and go leave nothing behind.
            let forget = query(sql::FORGET_NONE).bind(of.get::<i64>("product_no")?);
            let forget = forget.bind(of.get::<String>("module")?).bind(of.get::<String>("version")?);
            forget.execute(&mut tx.conn).await.map_err(failed(DOING))?;
        }
        Ok(())
    }
}

/// What is kept of a device's module.
pub(crate) struct Kept {
    pub(crate) product: i64,
    pub(crate) order: Option<ReportOrder>,
    pub(crate) version: Option<String>,
}

/// Keeps versions that are newer than what is kept; of several of one module the latest counts. Those of
/// unknown devices are passed over. Returns the versions that devices have, also those that were kept before.
pub(crate) async fn keep(tx: &mut Tx, versions: &[VersionReport]) -> Result<Vec<Arrival>, StoreError> {
    if versions.is_empty() {
        return Ok(Vec::new());
    }
    let latest = latest(versions);
    let kept = kept(tx, &latest).await?;
    let mut newer: Vec<(&VersionReport, Kept)> = latest
        .into_iter()
        .zip(kept)
        .filter_map(|(report, kept)| Some((report, kept?)))
        .filter(|(report, kept)| kept.order.is_none_or(|order| order <= report.order))
        .collect();
    let arrivals = newer.iter().map(|(report, kept)| Arrival::of(report, kept.product)).collect();
    newer.retain(|(report, kept)| kept.order != Some(report.order));
    note_changes(tx, &newer).await?;
    let set = text::array(newer, |out, (VersionReport { version, order }, _)| {
        let module = rows::module_column(&version.module);
        let _ = write!(out, r#"[{},"{module}","#, version.device.0); // Writing to a String cannot fail.
        text::quote(out, version.version.as_str());
        let _ = write!(out, ",{},{},{}]", version.at.millis(), order.session, order.n);
    });
    query(sql::KEEP).bind(set).execute(&mut tx.conn).await.map_err(failed(DOING))?;
    Ok(arrivals)
}

/// The latest report of each device and module, in the order of the table.
pub(crate) fn latest(versions: &[VersionReport]) -> Vec<&VersionReport> {
    let mut latest: HashMap<(DeviceId, &ModuleName), &VersionReport> = HashMap::new();
    for report in versions {
        let slot = latest.entry((report.version.device, &report.version.module)).or_insert(report);
        if slot.order < report.order {
            *slot = report;
        }
    }
    let mut latest: Vec<&VersionReport> = latest.into_values().collect();
    latest.sort_unstable_by(|a, b| {
        (a.version.device, &a.version.module).cmp(&(b.version.device, &b.version.module))
    });
    latest
}

/// What is kept of each, `None` for unknown devices.
async fn kept(tx: &mut Tx, reports: &[&VersionReport]) -> Result<Vec<Option<Kept>>, StoreError> {
    let asked = text::array(reports, |out, report| {
        let module = rows::module_column(&report.version.module);
        // Writing to a String cannot fail.
        let _ = write!(out, r#"[{},"{module}"]"#, report.version.device.0);
    });
    let found = query_scalar(sql::KEPT).bind(asked).fetch_one(&mut tx.conn).await;
    let found: Option<String> = found.map_err(failed(DOING))?;
    let mut kept: Vec<Option<Kept>> = reports.iter().map(|_| None).collect();
    for line in found.as_deref().unwrap_or_default().lines() {
        let corrupt = || StoreError::Corrupt { table: "device_module", reason: format!("no row: {line:?}") };
        let (place, row) = read(line).ok_or_else(corrupt)?;
        *kept.get_mut(place).ok_or_else(corrupt)? = Some(row);
    }
    Ok(kept)
}

fn read(line: &str) -> Option<(usize, Kept)> {
    let mut parts = line.split('\t');
    let (place, product) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let (session, n, version) = (parts.next()?, parts.next()?, parts.next()?);
    if session.is_empty() {
        return Some((place, Kept { product, order: None, version: None }));
    }
    let order = ReportOrder { session: session.parse().ok()?, n: n.parse().ok()? };
    Some((place, Kept { product, order: Some(order), version: Some(version.to_owned()) }))
}

/// Counts the versions that change, and keeps the old ones for the draws that ask for them.
async fn note_changes(tx: &mut Tx, newer: &[(&VersionReport, Kept)]) -> Result<(), StoreError> {
    let mut counts = Counts::default();
    let lost = changed(newer, &mut counts);
    if lost.is_empty() {
        return Ok(());
    }
    let products: BTreeSet<i64> = lost.iter().map(|(product, ..)| *product).collect();
    let asking = part::asking(tx, products).await?;
    part::remember(tx, &asking, &lost).await?;
    counts.write(tx).await
}

/// Counts the versions that change; returns what is lost: of (product, module, device), what it was.
pub(crate) fn changed<'v>(newer: &'v [(&VersionReport, Kept)], counts: &mut Counts) -> Vec<part::Lost<'v>> {
    let mut lost = Vec::new();
    for (VersionReport { version, .. }, kept) in newer {
        let (old, new) = (kept.version.as_deref(), version.version.as_str());
        if old == Some(new) {
            continue;
        }
        let module = rows::module_column(&version.module);
        if let Some(old) = old {
            counts.add(kept.product, module.to_owned(), old.to_owned(), -1);
        }
        counts.add(kept.product, module.to_owned(), new.to_owned(), 1);
        lost.push((kept.product, module, version.device, old));
    }
    lost
}
