//! Parts of fleets: how many devices match when a job is made, and who they were.
//!
//! Invariant: while a part is drawn and expanded, what a device loses (its version, or its place in the
//! product) is kept with the job, in the transaction that takes it away. A job is made under its product's lock
//! held alone, so whoever takes away afterwards sees it.

use otaria_core::gray::Last;
use otaria_core::ids::{DeviceId, DeviceName, InformedVersion, JobNo, ProductNo};
use otaria_core::scope::Scope;
use otaria_ports::store::{Drawn, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{query, query_scalar};

use super::devices::{candidate, int};
use super::sql::part as own;
use super::{PgTx, PostgresStore};
use crate::errors::failed;
use crate::part::{Asking, Lost, all_of, draw, in_scope, versions_of};
use crate::rows::Of;
use crate::sql::part as sql;

/// How many devices of a product are in scope, by kept counts. The product's lock is held alone.
pub(crate) async fn matching(
    tx: &mut PgTx<'_>,
    product: ProductNo,
    module: &str,
    scope: &Scope<'_>,
) -> Result<u64, StoreError> {
    let unavailable = failed("counting who matches");
    let devices = query_scalar(sql::DEVICES).bind(product.0).fetch_one(tx.conn()).await;
    let devices: i64 = devices.map_err(unavailable)?;
    let found = query(sql::VERSIONS).bind(product.0).bind(module).fetch_all(tx.conn()).await;
    in_scope(devices, &found.map_err(unavailable)?, scope)
}

/// The draws under way of these products.
pub(crate) async fn asking(
    tx: &mut PgTx<'_>,
    products: impl IntoIterator<Item = i64>,
) -> Result<Vec<Asking>, StoreError> {
    let products: Vec<i64> = products.into_iter().collect();
    let found = query(own::DRAWS).bind(products).fetch_all(tx.conn()).await;
    found.map_err(failed("looking for draws"))?.iter().map(Asking::read).collect()
}

/// Keeps versions that devices are about to lose.
pub(crate) async fn remember(
    tx: &mut PgTx<'_>,
    asking: &[Asking],
    lost: &[Lost<'_>],
) -> Result<(), StoreError> {
    for asking in asking {
        let meant: Vec<&Lost<'_>> = lost.iter().filter(|lost| asking.means(lost)).collect();
        let devices: Vec<i64> = meant.iter().map(|(_, _, device, _)| device.0).collect();
        let versions: Vec<Option<&str>> = meant.iter().map(|(.., version)| *version).collect();
        let remember = query(own::REMEMBER).bind(asking.job.0).bind(devices).bind(versions);
        remember.execute(tx.conn()).await.map_err(failed("keeping what was"))?;
    }
    Ok(())
}

/// Keeps what draws ask of a device that is about to be deleted.
pub(crate) async fn remember_deleted(tx: &mut PgTx<'_>, device: DeviceId) -> Result<(), StoreError> {
    let found = query(sql::VERSION_OF).bind(device.0).fetch_all(tx.conn()).await;
    let found = found.map_err(failed("keeping what was"))?;
    let Some((product, versions)) = versions_of(&found)? else { return Ok(()) };
    let asking = asking(tx, [product]).await?;
    remember(tx, &asking, &all_of(product, device, &versions, &asking)).await
}

/// A page of those who were devices when a job was made.
pub(crate) async fn scan(
    store: &PostgresStore,
    job: JobNo,
    after: Option<&DeviceName>,
    limit: usize,
) -> Result<Vec<Drawn>, StoreError> {
    let doing = "scanning for a draw";
    let Some(row) = store.row(doing, || query(sql::JOB).bind(job.0)).await? else { return Ok(Vec::new()) };
    let of = Of { table: "job", row: &row };
    let (product, upto) = (of.get::<i64>("product_no")?, of.get::<i64>("upto")?);
    let (module, after) = (of.get::<&str>("module")?, after.map_or("", DeviceName::as_str));
    let page =
        || query(own::SCAN).bind(job.0).bind(product).bind(upto).bind(after).bind(int(limit)).bind(module);
    store.rows(doing, page).await?.iter().map(drawn).collect()
}

fn drawn(row: &PgRow) -> Result<Drawn, StoreError> {
    let of = Of { table: "device", row };
    let candidate = candidate(&of)?;
    let was = of.maybe("was", |text: &str| InformedVersion::parse(text).ok())?;
    Ok(Drawn {
        name: of.parsed("name", |text: &str| DeviceName::parse(text).ok())?,
        version_then: if of.get::<i64>("was_other")? == 1 { was } else { candidate.version.clone() },
        candidate,
        gone: of.get::<i64>("gone")? == 1,
    })
}

/// Keeps the outcome of a draw, unless one is kept.
pub(crate) async fn put_draw(tx: &mut PgTx<'_>, job: JobNo, last: Last) -> Result<Option<Last>, StoreError> {
    let unavailable = failed("keeping a draw");
    let put = query(sql::PUT_DRAW).bind(job.0).bind(last.rank.cast_signed()).bind(last.device.0);
    put.execute(tx.conn()).await.map_err(unavailable)?;
    let kept = query(sql::DRAW).bind(job.0).fetch_optional(tx.conn()).await.map_err(unavailable)?;
    kept.as_ref().map(draw).transpose()
}
