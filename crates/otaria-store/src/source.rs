//! Where a job's devices come from: what is frozen when the job is made, and its columns.

use otaria_core::ids::{ProductNo, Version};
use otaria_core::scope::Scope;
use otaria_ports::store::{CreateJob, SourceKind, StoreError};
use sqlx::query_scalar;
use sqlx::sqlite::SqliteRow;

use crate::rows::Of;
use crate::sql::jobs::LAST;
use crate::sqlite::Tx;
use crate::sqlite::errors::failed;
use crate::{groups, part, standing};

/// A source as columns of `job`.
#[derive(Default)]
pub(crate) struct Columns<'a> {
    pub(crate) kind: i64,
    pub(crate) object: Option<&'a str>,
    pub(crate) size: Option<i64>,
    pub(crate) matching: Option<i64>,
    pub(crate) count: Option<i64>,
    pub(crate) group: Option<i64>,
    pub(crate) group_upto: Option<i64>,
    pub(crate) mode: Option<i64>,
    pub(crate) standing_group: Option<i64>,
    pub(crate) expression: Option<&'a str>,
}

pub(crate) fn columns(source: &SourceKind) -> Columns<'_> {
    let of_product = || Columns { kind: 2, ..Columns::default() };
    match source {
        SourceKind::Names => Columns::default(),
        SourceKind::File { object, size } => {
            Columns { kind: 1, object: Some(object), size: Some(size.cast_signed()), ..Columns::default() }
        }
        SourceKind::Product => of_product(),
        // A new one has no last device: see `sql::part::PUT_DRAW`.
        SourceKind::Part { matching, count, last: _ } => Columns {
            matching: Some(matching.cast_signed()),
            count: Some(count.cast_signed()),
            ..of_product()
        },
        SourceKind::Group { group, upto } => {
            Columns { group: Some(group.0), group_upto: Some(*upto), ..of_product() }
        }
        SourceKind::Standing { mode, group } => Columns {
            mode: Some(mode.code()),
            standing_group: group.as_ref().map(|group| group.no.0),
            expression: group.as_ref().map(|group| group.expression.as_str()),
            ..of_product()
        },
    }
}

/// Fills in what follows from this moment; or how many devices match, when the part would hold nobody.
pub(crate) async fn freeze(
    tx: &mut Tx,
    job: &CreateJob,
    product: ProductNo,
    firmware: &SqliteRow,
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
            let upto = query_scalar(LAST).bind("group").fetch_one(&mut tx.conn).await;
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
