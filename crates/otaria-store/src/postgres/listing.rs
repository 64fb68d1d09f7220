//! Pages of a job's tasks.

use otaria_core::ids::{DeviceName, JobNo};
use otaria_core::task::TaskStatus;
use otaria_ports::store::{StoreError, TaskFilter, TaskPage};
use sqlx::query;

use super::PostgresStore;
use super::devices::int;
use super::sql::tasks as sql;
use crate::listing::{LOOK_MAX, cut, views};
use crate::rows::Of;

const DOING: &str = "listing tasks";

/// A page of all tasks, or of those in one status.
pub(crate) async fn page(
    store: &PostgresStore,
    job: JobNo,
    status: Option<TaskStatus>,
    after: u32,
    limit: usize,
) -> Result<TaskPage, StoreError> {
    let limit = limit.clamp(1, LOOK_MAX - 1);
    // Without a filter what is looked at is what is returned.
    let look = if status.is_some() { LOOK_MAX } else { limit + 1 };
    let (first, last) = ((job.0 << 32) | i64::from(after), (job.0 << 32) | i64::from(u32::MAX));
    let page = || {
        query(sql::PAGE)
            .bind(first)
            .bind(last)
            .bind(status.map(TaskStatus::code))
            .bind(int(look))
            .bind(int(limit + 1))
    };
    let page = cut(views(&store.rows(DOING, page).await?)?, limit);
    if page.next.is_some() || status.is_none() {
        return Ok(page);
    }

    let looked = || query(sql::LOOKED).bind(first).bind(last).bind(int(look));
    let Some(row) = store.row(DOING, looked).await? else { return Ok(page) };
    let of = Of { table: "task", row: &row };
    let more = of.get::<i64>("n")? == int(look);
    let last = of.maybe("id", |id: i64| u32::try_from(id & 0xffff_ffff).ok())?;
    Ok(TaskPage { next: last.filter(|_| more), ..page })
}

/// A page of the tasks of named devices.
pub(crate) async fn page_of(
    store: &PostgresStore,
    job: JobNo,
    filter: &TaskFilter,
    after: u32,
    limit: usize,
) -> Result<TaskPage, StoreError> {
    let mut names: Vec<&str> = filter.devices.iter().map(DeviceName::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let limit = limit.max(1);
    let page = || {
        query(sql::PAGE_OF)
            .bind(&names)
            .bind(job.0)
            .bind((job.0 << 32) | i64::from(after))
            .bind(filter.status.map(TaskStatus::code))
            .bind(int(limit.saturating_add(1)))
    };
    Ok(cut(views(&store.rows(DOING, page).await?)?, limit))
}
