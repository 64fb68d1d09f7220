//! The rollout itself: make the job, follow it to its end, cancel what can never end.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use otaria_proto::v1::{
    CancelOtaTaskByJobRequest, CreateOtaStaticUpgradeJobRequest, JobStatus, ListOtaTaskByJobRequest,
    QueryOtaJobRequest, QueryOtaJobResponse, TargetSelection, TaskStatus,
};

use super::stage::{Stage, Step};
use super::world::World;
use crate::fleet::{Fleet, sum};
use crate::remote::{Remote, answer};
use crate::stopwatch::Stopwatch;

/// Pause between two looks at the job while its list is read: finer than what is measured.
const LOOK_CLOSE: Duration = Duration::from_millis(25);
/// Pause between two looks at the job later.
const LOOK: Duration = Duration::from_millis(200);

/// How long nothing may move. Silent devices time out after a minute, and the slowest pace is a notice in
/// six seconds.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long the count of written notices may lag behind the devices.
const LAG: Duration = Duration::from_secs(5);

/// What the job is made of.
pub(super) struct Order {
    pub(super) product_key: String,
    pub(super) firmware_id: String,
    pub(super) list_url: String,
    pub(super) maximum_per_minute: u32,
}

/// What the server said, and when. Instants count from the start of the fleet.
pub(super) struct Story {
    /// When the create call was answered.
    pub(super) answered_at: Duration,
    /// From the create call to the end of expansion.
    pub(super) expand_seconds: f64,
    /// The job at its end.
    pub(super) job: QueryOtaJobResponse,
}

/// The names of a job's tasks that succeeded, and of those that failed.
pub(super) struct ByName {
    pub(super) succeeded: BTreeSet<String>,
    pub(super) failed: BTreeSet<String>,
}

pub(super) async fn run(
    remote: &Remote,
    fleet: &Fleet,
    world: &World,
    order: Order,
    stage: &Stage,
) -> anyhow::Result<Story> {
    let clock = fleet.recorder().clock();
    let trouble = world.has_trouble().then_some(1);
    let request = CreateOtaStaticUpgradeJobRequest {
        firmware_id: order.firmware_id,
        product_key: order.product_key,
        target_selection: TargetSelection::Specific.into(),
        dn_list_file_url: Some(order.list_url),
        maximum_per_minute: Some(i32::try_from(order.maximum_per_minute)?),
        retry_interval: trouble.map(|_| 0),
        retry_count: trouble,
        timeout_in_minutes: trouble,
        offer_timeout_in_minutes: trouble,
        ..CreateOtaStaticUpgradeJobRequest::default()
    };
    let called_at = clock.elapsed();
    let job_id = answer(remote.jobs().create_ota_static_upgrade_job(request)).await?.job_id;
    let answered_at = clock.elapsed();

    let expanding = stage.begin_over(u64::from(world.devices), "expanding");
    let looker = Looker { remote, fleet, world, job_id };
    looker
        .until(LOOK_CLOSE, |job| {
            let expansion = job.expansion.clone().unwrap_or_default();
            expanding.bar.set_position(u64::try_from(expansion.lines).unwrap_or(0));
            expansion.complete
        })
        .await?;
    let expand_seconds = (clock.elapsed() - called_at).as_secs_f64();
    expanding.done("every name of the list has its task");

    let bars = Bars::new(world, stage);
    let all_final = i64::try_from(world.online.len())?;
    let job = looker
        .until(LOOK, |job| {
            bars.show(fleet, job);
            let counts = job.task_counts.unwrap_or_default();
            is_over(job) || counts.succeeded + counts.failed >= all_final
        })
        .await?;
    bars.done();

    let job = if is_over(&job) { job } else { looker.cancel(stage).await? };
    let job = looker.settled(job).await?;
    Ok(Story { answered_at, expand_seconds, job })
}

fn is_over(job: &QueryOtaJobResponse) -> bool {
    matches!(job.job_status(), JobStatus::Completed | JobStatus::Canceled)
}

struct Looker<'demo> {
    remote: &'demo Remote,
    fleet: &'demo Fleet,
    world: &'demo World,
    job_id: String,
}

impl Looker<'_> {
    async fn look(&self) -> anyhow::Result<QueryOtaJobResponse> {
        let request = QueryOtaJobRequest { job_id: self.job_id.clone() };
        answer(self.remote.jobs().query_ota_job(request)).await
    }

    /// Looks until the job is as it should be; gives up when nothing moves any more.
    async fn until(
        &self,
        pause: Duration,
        mut is: impl FnMut(&QueryOtaJobResponse) -> bool,
    ) -> anyhow::Result<QueryOtaJobResponse> {
        let (mut before, mut still) = (None, Stopwatch::start());
        loop {
            let job = self.look().await?;
            if is(&job) {
                return Ok(job);
            }
            let totals = &self.fleet.recorder().totals;
            let seen = (job.expansion.clone(), job.task_counts, sum(&totals.notices), sum(&totals.updates));
            if before.as_ref() != Some(&seen) {
                (before, still) = (Some(seen), Stopwatch::start());
            }
            if still.elapsed() > PATIENCE {
                let troubles = self.fleet.recorder().troubles();
                bail!(
                    "nothing has moved for {} s\n  job {} is {:?}\n  {:?}\n  {:?}\n  devices saw {} notices and did {} updates: {troubles:#?}",
                    PATIENCE.as_secs(),
                    self.job_id,
                    job.job_status(),
                    job.expansion.unwrap_or_default(),
                    job.task_counts.unwrap_or_default(),
                    sum(&totals.notices),
                    sum(&totals.updates)
                );
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Cancels what waits for devices that never come, and waits for the end of the job.
    async fn cancel(&self, stage: &Stage) -> anyhow::Result<QueryOtaJobResponse> {
        let offline = u64::from(self.world.devices) - u64::try_from(self.world.online.len())?;
        let step = stage.begin("cancelling what waits for devices that are offline");
        let request = CancelOtaTaskByJobRequest {
            job_id: self.job_id.clone(),
            cancel_scheduled_task: Some(true),
            cancel_queued_task: Some(true),
            cancel_notified_task: Some(true),
            cancel_in_progress_task: Some(true),
            cancel_unconfirmed_task: Some(true),
        };
        answer(self.remote.tasks().cancel_ota_task_by_job(request)).await?;
        let job = self.until(LOOK, is_over).await?;
        step.done(&format!("{} tasks of offline devices are canceled", indicatif::HumanCount(offline)));
        Ok(job)
    }

    /// The job once its count of written notices has caught up with what the devices saw.
    async fn settled(&self, mut job: QueryOtaJobResponse) -> anyhow::Result<QueryOtaJobResponse> {
        let waiting = Stopwatch::start();
        loop {
            let seen = i64::try_from(sum(&self.fleet.recorder().totals.notices))?;
            if job.notices_written >= seen || waiting.elapsed() > LAG {
                return Ok(job);
            }
            tokio::time::sleep(LOOK).await;
            job = self.look().await?;
        }
    }
}

/// Asks for the tasks that have ended at devices, by name.
pub(super) async fn tasks_by_name(remote: &Remote, job_id: &str) -> anyhow::Result<ByName> {
    let of = async |status: TaskStatus| {
        let mut names = BTreeSet::new();
        let mut request = ListOtaTaskByJobRequest {
            job_id: job_id.to_owned(),
            task_status: status.into(),
            page_size: Some(1_000),
            ..ListOtaTaskByJobRequest::default()
        };
        loop {
            let page = answer(remote.tasks().list_ota_task_by_job(request.clone())).await?;
            names.extend(page.tasks.into_iter().map(|task| task.device_name));
            if page.next_page_token.is_empty() {
                return anyhow::Ok(names);
            }
            request.page_token = page.next_page_token;
        }
    };
    Ok(ByName { succeeded: of(TaskStatus::Succeeded).await?, failed: of(TaskStatus::Failed).await? })
}

/// Pushes and results while they happen.
struct Bars<'stage> {
    pushed: Step<'stage>,
    ended: Step<'stage>,
}

impl<'stage> Bars<'stage> {
    fn new(world: &World, stage: &'stage Stage) -> Self {
        let online = u64::try_from(world.online.len()).unwrap_or(0);
        let retries = u64::try_from(world.failing).unwrap_or(0);
        let pushed = stage.begin_over(online + retries, "pushing");
        Self { pushed, ended: stage.begin_over(online, "updating") }
    }

    fn show(&self, fleet: &Fleet, job: &QueryOtaJobResponse) {
        self.pushed.bar.set_position(sum(&fleet.recorder().totals.notices));
        let counts = job.task_counts.unwrap_or_default();
        self.ended.bar.set_position(u64::try_from(counts.succeeded + counts.failed).unwrap_or(0));
    }

    fn done(self) {
        self.ended.gone();
        self.pushed.done("every device that is online is through");
    }
}
