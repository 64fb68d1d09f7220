//! Where a job's devices come from: what is frozen when the job is made.
//!
//! Invariant: what asks for everybody of this moment (all, a part, a group, and who comes from now on) holds the
//! product alone, so that everybody up to the membership number is there, and nobody changes a version. A list
//! names its devices, so its job only shares the product.

use otaria_core::ids::{ProductNo, Version};
use otaria_core::scope::Scope;
use otaria_ports::store::{CreateJob, SourceKind, StoreError};
use sqlx::postgres::PgRow;
use sqlx::query_scalar;

use super::sql::jobs::LAST_CHANGE;
use super::{Lock, PgTx, groups, part, standing};
use crate::errors::failed;
use crate::rows::Of;

/// Holds product and group as the source needs it.
pub(crate) async fn hold(
    tx: &mut PgTx<'_>,
    source: &SourceKind,
    product: ProductNo,
) -> Result<(), StoreError> {
    match source {
        SourceKind::Names | SourceKind::File { .. } => return tx.share(Lock::Product(product)).await,
        SourceKind::Product
        | SourceKind::Part { .. }
        | SourceKind::Group { .. }
        | SourceKind::Standing { .. } => tx.lock(Lock::Product(product)).await?,
    }
    match source {
        SourceKind::Group { group, .. } => tx.lock(Lock::Group(*group)).await,
        SourceKind::Standing { group: Some(group), .. } => tx.lock(Lock::Group(group.no)).await,
        SourceKind::Names
        | SourceKind::File { .. }
        | SourceKind::Product
        | SourceKind::Part { .. }
        | SourceKind::Standing { group: None, .. } => Ok(()),
    }
}

/// Fills in what follows from this moment; or how many devices match, when the part would hold nobody.
pub(crate) async fn freeze(
    tx: &mut PgTx<'_>,
    job: &CreateJob,
    product: ProductNo,
    firmware: &PgRow,
) -> Result<Result<SourceKind, u64>, StoreError> {
    match &job.source {
        SourceKind::Part { last, .. } => {
            let of = Of { table: "firmware", row: firmware };
            let version = |text: &str| Version::parse(text).ok();
            let dest = of.parsed("dest_version", version)?;
            let source = of.maybe("src_version", version)?;
            let scope = Scope::new(&dest, job.new.target.src_versions(), source.as_ref());
            let matching = part::matching(tx, product, of.get("module")?, &scope).await?;
            let count = job.new.target.part_of(matching);
            let is_empty = count == 0;
            Ok(if is_empty { Err(matching) } else { Ok(SourceKind::Part { matching, count, last: *last }) })
        }
        SourceKind::Group { group, .. } => {
            groups::expect(tx, *group, Some(job.account), Some(false)).await?;
            let upto = query_scalar(LAST_CHANGE).fetch_one(tx.conn()).await;
            Ok(Ok(SourceKind::Group { group: *group, upto: upto.map_err(failed("making a job"))? }))
        }
        SourceKind::Standing { group, .. } => {
            if let Some(group) = group {
                groups::expect(tx, group.no, Some(job.account), Some(true)).await?;
            }
            let group = group.as_ref().map(|group| group.no.0);
            standing::expect_room(tx, job, group, firmware).await?;
            Ok(Ok(job.source.clone()))
        }
        SourceKind::Names | SourceKind::File { .. } | SourceKind::Product => Ok(Ok(job.source.clone())),
    }
}
