//! Pages of a job's tasks.

use otaria_core::ids::{DeviceName, JobNo};
use otaria_core::task::TaskStatus;
use otaria_ports::store::{StoreError, TaskFilter, TaskPage, TaskView};
use sqlx::query;

use crate::rows::Columns;
use crate::sql::tasks as sql;
use crate::sqlite::SqliteStore;
use crate::{rows, text};

const DOING: &str = "listing tasks";

/// Tasks that one call looks at, whatever it finds.
pub(crate) const LOOK_MAX: usize = 10_000;

/// A page of all tasks, or of those in one status.
pub(crate) async fn page(
    store: &SqliteStore,
    job: JobNo,
    status: Option<TaskStatus>,
    after: u32,
    limit: usize,
) -> Result<TaskPage, StoreError> {
    let limit = limit.clamp(1, LOOK_MAX - 1);
    // Without a filter what is looked at is what is returned.
    let look = if status.is_some() { LOOK_MAX } else { limit + 1 };
    let (first, last) = ((job.0 << 32) | i64::from(after), (job.0 << 32) | i64::from(u32::MAX));
    let found = query(sql::PAGE)
        .bind(first)
        .bind(last)
        .bind(status.map(TaskStatus::code))
        .bind(int(look))
        .bind(int(limit + 1));
    let page = cut(views(&store.rows(DOING, found).await?)?, limit);
    if page.next.is_some() || status.is_none() {
        return Ok(page);
    }

    let looked = query(sql::LOOKED).bind(first).bind(last).bind(int(look));
    let looked: String = store.value(DOING, looked).await?;
    let looked = text::lines::<2>("task", Some(&looked))?;
    let more = looked.first().filter(|[_, count]| *count == int(look)).map(|[id, _]| id & 0xffff_ffff);
    Ok(TaskPage { next: more.and_then(|seq| u32::try_from(seq).ok()), ..page })
}

/// A page of the tasks of named devices.
pub(crate) async fn page_of(
    store: &SqliteStore,
    job: JobNo,
    filter: &TaskFilter,
    after: u32,
    limit: usize,
) -> Result<TaskPage, StoreError> {
    let mut names: Vec<&DeviceName> = filter.devices.iter().collect();
    names.sort_unstable();
    names.dedup();
    let limit = limit.max(1);
    let found = query(sql::PAGE_OF)
        .bind(text::texts(names))
        .bind(job.0)
        .bind((job.0 << 32) | i64::from(after))
        .bind(filter.status.map(TaskStatus::code))
        .bind(int(limit.saturating_add(1)));
    Ok(cut(views(&store.rows(DOING, found).await?)?, limit))
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Rows of tasks with their devices' names.
pub(crate) fn views<R: Columns>(found: &[R]) -> Result<Vec<TaskView>, StoreError> {
    let view = |row: &R| {
        let device_name =
            rows::Of { table: "device", row }.parsed("name", |name: &str| DeviceName::parse(name).ok())?;
        Ok(TaskView { task: rows::task(row)?, device_name })
    };
    found.iter().map(view).collect()
}

/// One task more than asked for says that there are more.
pub(crate) fn cut(mut tasks: Vec<TaskView>, limit: usize) -> TaskPage {
    let more = tasks.len() > limit;
    tasks.truncate(limit);
    let next = if more { tasks.last().map(|view| view.task.key.seq) } else { None };
    TaskPage { tasks, next }
}
