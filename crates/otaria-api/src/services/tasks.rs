//! Tasks.

use std::sync::Arc;

use otaria_core::time::Timestamp;
use otaria_engine::Caller;
use otaria_engine::command::{CancelByDeviceParams, JobHead};
use otaria_ports::store::TaskFilter;
use otaria_proto::v1;
use otaria_proto::v1::ota_task_service_server::OtaTaskService;
use tonic::{Request, Response, Status};

use super::Shared;
use crate::convert::{job as convert_job, task as convert, text};
use crate::errors::{self, status_of};
use crate::paging::{Asked, PAGE_SIZE_MAX, Page};

/// Readings for one page at most: each looks at a bounded number of tasks. A page that is not full by then
/// says where to go on.
const READS_MAX: usize = 32;
/// Readings for a page by number, which has nothing to say where to go on; it reaches 100,000 tasks.
const READS_BY_NUMBER_MAX: usize = 400;

pub(crate) struct Tasks(pub(crate) Arc<Shared>);

/// Tasks, and where to go on.
struct Rows {
    head: JobHead,
    rows: Vec<v1::SimpleOtaTaskInfo>,
    next: Option<u32>,
}

#[tonic::async_trait]
impl OtaTaskService for Tasks {
    async fn list_ota_task_by_job(
        &self,
        request: Request<v1::ListOtaTaskByJobRequest>,
    ) -> Result<Response<v1::ListOtaTaskByJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let filter = convert::filter(&request)?;
        let asked = Asked {
            size: request.page_size,
            token: &request.page_token,
            number: request.current_page,
            by_number_max: 100,
        };
        let status = request.task_status.to_string();
        let mut list = vec!["ListOTATaskByJob", &request.job_id, &status];
        list.extend(filter.devices.iter().map(AsRef::<str>::as_ref));
        let page: Page<u32> = Page::read(asked, &list, |text| text.parse().ok())?;
        let found = self.rows(&caller, now, &request.job_id, &filter, &page).await?;
        let total = self.total(&caller, now, &request.job_id, &filter, &found).await?;
        let answer = page.answer(total, found.next);
        Ok(Response::new(v1::ListOtaTaskByJobResponse {
            tasks: found.rows,
            next_page_token: answer.next_page_token,
            current_page: answer.current_page,
            page_size: answer.page_size,
            page_count: answer.page_count,
            total: answer.total,
        }))
    }

    async fn list_ota_unfinished_task_by_device(
        &self,
        request: Request<v1::ListOtaUnfinishedTaskByDeviceRequest>,
    ) -> Result<Response<v1::ListOtaUnfinishedTaskByDeviceResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let (size, token) = (request.page_size, request.page_token.clone());
        let params = convert::unfinished(request);
        let asked = Asked { size, token: &token, number: None, by_number_max: PAGE_SIZE_MAX };
        let which = format!("{params:?}");
        let page: Page<usize> =
            Page::read(asked, &["ListOTAUnfinishedTaskByDevice", &which], |text| text.parse().ok())?;
        let found = self.0.commands.list_unfinished_tasks(&caller, &params).await.map_err(status_of)?;
        // As many as the device has modules: a page is cut out of all of them.
        let (from, total) = (page.after.unwrap_or(0), found.len());
        let next = Some(from.saturating_add(page.size)).filter(|next| *next < total);
        let answer = page.answer(total as u64, next);
        let rows = found.iter().skip(from).take(page.size);
        Ok(Response::new(v1::ListOtaUnfinishedTaskByDeviceResponse {
            tasks: rows.map(|row| convert::row(&row.job, &row.view, row.online, now)).collect(),
            next_page_token: answer.next_page_token,
            total: answer.total,
        }))
    }

    async fn confirm_ota_task(
        &self,
        request: Request<v1::ConfirmOtaTaskRequest>,
    ) -> Result<Response<v1::ConfirmOtaTaskResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let commands = &self.0.commands;
        let done = match request.job_id {
            None => commands.confirm_tasks(&caller, now, &request.task_id).await,
            Some(_) if !request.task_id.is_empty() => {
                return Err(errors::invalid("TaskId", "is not available together with JobId"));
            }
            Some(job_id) => commands.confirm_job(&caller, now, &job_id).await,
        };
        done.map_err(status_of)?;
        Ok(Response::new(v1::ConfirmOtaTaskResponse {}))
    }

    async fn reupgrade_ota_task(
        &self,
        request: Request<v1::ReupgradeOtaTaskRequest>,
    ) -> Result<Response<v1::ReupgradeOtaTaskResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let commands = &self.0.commands;
        let done = match &request.filter {
            None => commands.reupgrade_tasks(&caller, now, &request.job_id, &request.task_id).await,
            Some(_) if !request.task_id.is_empty() => {
                return Err(errors::invalid("TaskId", "is not available together with Filter"));
            }
            Some(filter) => {
                let params = convert::reupgrade_filter(filter);
                commands.reupgrade_job(&caller, now, &request.job_id, &params).await
            }
        };
        done.map_err(status_of)?;
        Ok(Response::new(v1::ReupgradeOtaTaskResponse {}))
    }

    async fn cancel_ota_task_by_device(
        &self,
        request: Request<v1::CancelOtaTaskByDeviceRequest>,
    ) -> Result<Response<v1::CancelOtaTaskByDeviceResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let params = CancelByDeviceParams {
            product_key: text(request.product_key),
            firmware_id: text(request.firmware_id),
            device_name: request.device_name,
            job_id: request.job_id,
        };
        self.0.commands.cancel_tasks_by_device(&caller, now, &params).await.map_err(status_of)?;
        Ok(Response::new(v1::CancelOtaTaskByDeviceResponse {}))
    }

    async fn cancel_ota_task_by_job(
        &self,
        request: Request<v1::CancelOtaTaskByJobRequest>,
    ) -> Result<Response<v1::CancelOtaTaskByJobResponse>, Status> {
        let (caller, now, request) = self.0.open(request)?;
        let flags = convert_job::cancel_flags(&request);
        let done = self.0.commands.cancel_tasks_by_job(&caller, now, &request.job_id, flags).await;
        done.map_err(status_of)?;
        Ok(Response::new(v1::CancelOtaTaskByJobResponse {}))
    }
}

impl Tasks {
    /// The rows of a page.
    async fn rows(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        filter: &TaskFilter,
        page: &Page<u32>,
    ) -> Result<Rows, Status> {
        let unfiltered = filter.status.is_none() && filter.devices.is_empty();
        // Places in a job have no gaps: without a filter a page by number is one by place.
        let (mut after, mut skip) = match (page.after, u32::try_from(page.skip)) {
            (None, Ok(place)) if unfiltered => (place, 0),
            (after, _) => (after.unwrap_or(0), page.skip),
        };
        let reads_max = if skip > 0 { READS_BY_NUMBER_MAX } else { READS_MAX };
        let mut rows = Vec::new();
        for read in 1.. {
            let missing = skip + page.size - rows.len();
            let limit = missing.min(PAGE_SIZE_MAX);
            let found = self.0.commands.list_tasks(caller, job_id, filter, after, limit).await;
            let found = found.map_err(status_of)?;
            let passed = skip.min(found.page.tasks.len());
            skip -= passed;
            rows.extend(found.page.tasks.iter().skip(passed).map(|view| {
                let online = found.online.contains_key(&view.task.key.device);
                convert::row(&found.job, view, online, now)
            }));
            match found.page.next {
                Some(next) if rows.len() < page.size && read < reads_max => after = next,
                next => return Ok(Rows { head: found.job, rows, next }),
            }
        }
        Err(Status::internal("a list without an end"))
    }

    /// How many tasks match in all.
    async fn total(
        &self,
        caller: &Caller,
        now: Timestamp,
        job_id: &str,
        filter: &TaskFilter,
        found: &Rows,
    ) -> Result<u64, Status> {
        if filter.devices.is_empty() {
            let store = &self.0.commands.deps().store;
            let counts = store.task_counts(found.head.job.no).await;
            let counts = counts.map_err(|error| status_of(error.into()))?;
            return Ok(filter.status.map_or_else(|| counts.total(), |status| counts.of(status)));
        }
        // At most 200 names with one task each: they are counted by looking at them.
        let everything = Page::read(all(), &["ListOTATaskByJob"], |_| None::<u32>)?;
        let all = self.rows(caller, now, job_id, filter, &everything).await?;
        Ok(all.rows.len() as u64)
    }
}

fn all() -> Asked<'static> {
    Asked { size: i32::try_from(PAGE_SIZE_MAX).ok(), token: "", number: None, by_number_max: PAGE_SIZE_MAX }
}
