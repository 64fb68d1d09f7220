//! Periodic work: expiry, retention, the audit of counters. One runner a cluster for each.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::time::Timestamp;

use crate::audit;
use crate::error::CommandError;
use crate::ownership::Ownership;
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

/// Nonces forgotten in one step: small rows, so that calls wait no longer than for any other.
const NONCES_STEP: usize = 500;

/// A deleted device is remembered for so long at least: longer than any piece of work that knew it before.
const GONE_FOR: Duration = Duration::from_secs(3_600);
/// A batch of names can be asked for so long.
const APPLIES_FOR: Duration = Duration::from_secs(7 * 86_400);
/// Batches of names forgotten in one step; each is a row of up to a megabyte.
const BATCHES_STEP: usize = 20;

/// What is done from time to time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Forgets uploads that nothing uses, and deletes their objects.
    ExpireUploads,
    /// Removes jobs that ended long ago.
    PurgeJobs,
    /// Looks whether jobs are kept as they must be: counters (I9), lines, parts, tasks, ends.
    AuditCounters,
    /// Forgets nonces of requests that could not be taken for fresh any more.
    ExpireNonces,
    /// Forgets memberships, devices and batches of names that nothing asks for any more.
    PurgeGone,
    /// Looks at every unfinished job: whatever hint was lost, schedule times come anyway.
    PokeJobs,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 6] = [
        Self::ExpireUploads,
        Self::PurgeJobs,
        Self::AuditCounters,
        Self::ExpireNonces,
        Self::PurgeGone,
        Self::PokeJobs,
    ];

    /// The name in the store's run table, in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpireUploads => "expire_uploads",
            Self::PurgeJobs => "purge_jobs",
            Self::AuditCounters => "audit_counters",
            Self::ExpireNonces => "expire_nonces",
            Self::PurgeGone => "purge_gone",
            Self::PokeJobs => "poke_jobs",
        }
    }

    /// From one run to the next.
    #[must_use]
    pub const fn period(self) -> Duration {
        match self {
            Self::ExpireUploads | Self::PurgeJobs | Self::PurgeGone => Duration::from_secs(600),
            Self::AuditCounters => Duration::from_secs(3_600),
            Self::ExpireNonces => Duration::from_secs(300),
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
    owned: &Ownership,
    keep: Retention,
    now: Timestamp,
) -> Result<bool, CommandError> {
    let store = &shell.deps.store;
    // A little less than the period, so that a timer that is early by a moment does not skip a run.
    if !store.begin_run(work.as_str(), owned.shards.member, now, work.period().mul_f32(0.9)).await? {
        return Ok(false);
    }
    match work {
        Work::ExpireUploads => {
            for upload in store.expire_uploads(now - keep.uploads, STEP).await? {
                shell.deps.objects.delete(&upload.object).await?;
            }
        }
        Work::PurgeJobs => while store.purge_jobs(now - keep.jobs, STEP).await? > 0 {},
        Work::AuditCounters => audit::run(shell, keep.jobs, owned, now).await?,
        Work::PurgeGone => {
            while store.purge_gone(now - GONE_FOR, STEP).await? > 0 {}
            while store.purge_applies(now - APPLIES_FOR, BATCHES_STEP).await? > 0 {}
        }
        Work::ExpireNonces => while store.forget_nonces(now, NONCES_STEP).await? > 0 {},
        Work::PokeJobs => {
            let jobs = store.unfinished_jobs().await?;
            shell.expand_hints.add(jobs.iter().filter(|job| !job.expansion.complete).map(|job| job.no));
            shell.close_hints.add(jobs.iter().map(|job| job.no));
        }
    }
    Ok(true)
}
