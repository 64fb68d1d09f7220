//! Periodic work: expiry, retention, the audit of counters. One runner a cluster for each.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_ports::store::Member;

use crate::error::CommandError;
use crate::shell::Shell;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Uploads that nothing uses.
    pub uploads: Duration,
    /// Jobs that have ended, with their tasks and rejected lines.
    pub jobs: Duration,
}

/// Rows removed in one step: about 25 ms of the store's writer.
const STEP: usize = 2_000;

/// What is done from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Forgets uploads that nothing uses, and deletes their objects.
    ExpireUploads,
    /// Removes jobs that ended long ago.
    PurgeJobs,
    /// Compares kept counters with what they count (I9).
    AuditCounters,
    /// Looks at every unfinished job: whatever hint was lost, schedule times come anyway.
    PokeJobs,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 4] = [Self::ExpireUploads, Self::PurgeJobs, Self::AuditCounters, Self::PokeJobs];

    /// The name in the store's run table, in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpireUploads => "expire_uploads",
            Self::PurgeJobs => "purge_jobs",
            Self::AuditCounters => "audit_counters",
            Self::PokeJobs => "poke_jobs",
        }
    }

    /// From one run to the next.
    #[must_use]
    pub const fn period(self) -> Duration {
        match self {
            Self::ExpireUploads | Self::PurgeJobs => Duration::from_secs(600),
            Self::AuditCounters => Duration::from_secs(3_600),
            Self::PokeJobs => Duration::from_secs(30),
        }
    }
}

/// Runs one work if it is this process's turn; says whether it was.
///
/// # Errors
/// When store or objects are not available; the next turn tries again.
pub async fn run(
    shell: &Arc<Shell>,
    work: Work,
    member: Member,
    keep: Retention,
    now: Timestamp,
) -> Result<bool, CommandError> {
    let store = &shell.deps.store;
    // A little less than the period, so that a timer that is early by a moment does not skip a run.
    if !store.begin_run(work.as_str(), member, now, work.period().mul_f32(0.9)).await? {
        return Ok(false);
    }
    match work {
        Work::ExpireUploads => {
            for upload in store.expire_uploads(now - keep.uploads, STEP).await? {
                shell.deps.objects.delete(&upload.object).await?;
            }
        }
        Work::PurgeJobs => while store.purge_jobs(now - keep.jobs, STEP).await? > 0 {},
        Work::AuditCounters => audit(shell).await?,
        Work::PokeJobs => {
            let jobs = store.unfinished_jobs().await?;
            shell.expand_hints.add(jobs.iter().filter(|job| !job.expansion.complete).map(|job| job.no));
            shell.close_hints.add(jobs.iter().map(|job| job.no));
        }
    }
    Ok(true)
}

/// Counts tasks of unfinished jobs and compares. A difference is a broken invariant: it is alerted, and
/// the kept counts are left as evidence.
async fn audit(shell: &Shell) -> Result<(), CommandError> {
    for job in shell.deps.store.unfinished_jobs().await? {
        for (status, kept, counted) in shell.deps.store.audit_counts(job.no).await? {
            metrics::counter!("otaria_invariant_violations_total", "invariant" => "I9").increment(1);
            tracing::error!(
                job.id = %job.id, status = status.as_str(), kept, counted,
                "I9 broken: a kept counter differs from its tasks"
            );
        }
    }
    Ok(())
}
