//! Periodic work on tokio-cron-scheduler; each run takes a lease row first, so one process a cluster runs it.

use std::sync::Arc;

use anyhow::Context;
use otaria_engine::Shell;
use otaria_engine::janitor::{self, Retention, Work};
use otaria_engine::ownership::Ownership;
use otaria_ports::clock::Clock;
use tokio::sync::watch;
use tokio_cron_scheduler::{Job, JobScheduler};

/// Starts all periodic work. It ends with [`JobScheduler::shutdown`].
pub(crate) async fn start(
    shell: &Arc<Shell>,
    clock: &Arc<dyn Clock>,
    owning: &watch::Receiver<Arc<Ownership>>,
    keep: Retention,
) -> anyhow::Result<JobScheduler> {
    let scheduler = JobScheduler::new().await.context("starting the cron scheduler")?;
    for work in Work::ALL {
        let (shell, clock, owning) = (Arc::clone(shell), Arc::clone(clock), owning.clone());
        let job = Job::new_repeated_async(work.period(), move |_, _| {
            let (shell, clock) = (Arc::clone(&shell), Arc::clone(&clock));
            let owned = Arc::clone(&owning.borrow());
            Box::pin(async move { run(&shell, &*clock, work, &owned, keep).await })
        });
        scheduler.add(job.context("making a periodic job")?).await.context("adding a periodic job")?;
    }
    scheduler.start().await.context("starting periodic work")?;
    Ok(scheduler)
}

async fn run(shell: &Arc<Shell>, clock: &dyn Clock, work: Work, owned: &Ownership, keep: Retention) {
    let result = match janitor::run(shell, work, owned, keep, clock.now()).await {
        Ok(true) => "done",
        Ok(false) => "elsewhere",
        Err(error) => {
            tracing::warn!(work = work.as_str(), %error, "periodic work failed; its next run tries again");
            "failed"
        }
    };
    metrics::counter!("otaria_cron_runs_total", "work" => work.as_str(), "result" => result).increment(1);
}
