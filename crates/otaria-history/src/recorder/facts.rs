//! Rows of the store as they are told.

use std::fmt::Write;
use std::time::Duration;

use otaria_core::ids::ModuleName;
use otaria_core::job::{JobKind, Target};
use otaria_core::time::Timestamp;
use otaria_ports::store::{CreateJob, Firmware, Job, SourceKind, TaskCounts};
use sha2::{Digest, Sha256};

use crate::record::{Fact, JobMade};
use crate::writer::not_before;

/// The default module is left out.
pub(super) fn module_of(module: &ModuleName) -> String {
    if module.is_default() { String::new() } else { module.as_str().to_owned() }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a text does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn seconds(span: Duration) -> u64 {
    span.as_secs()
}

fn instant(at: Option<Timestamp>) -> Option<u64> {
    at.map(not_before)
}

/// A token is its caller's own and told as a digest; `None` where the call had none.
pub(super) fn token_of(asked: &CreateJob) -> Option<String> {
    asked.new.client_token.as_ref().map(|token| hex(&Sha256::digest(token.as_str())))
}

/// A new job. Without its firmware, what that says is left empty.
pub(super) fn job_made(asked: &CreateJob, job: &Job, firmware: Option<&Firmware>) -> Fact {
    let (new, policy) = (&job.new, &job.new.policy);
    let gray = match (&new.target, &job.source) {
        (Target::Gray { percent, .. }, SourceKind::Part { matching, count, .. }) => {
            Some((percent.to_string(), *matching, *count))
        }
        _ => None,
    };
    let names = match &new.target {
        Target::Names(names) => names.iter().map(|name| name.as_str().to_owned()).collect(),
        Target::All { .. } | Target::ListFile { .. } | Target::Gray { .. } | Target::Group { .. } => {
            Vec::new()
        }
    };
    Fact::Job(Box::new(JobMade {
        job: job.no.0,
        id: job.id.to_string(),
        account: job.account.0,
        product: new.product.to_string(),
        firmware: job.firmware.0,
        dest_version: firmware.map(|firmware| firmware.new.dest_version.to_string()).unwrap_or_default(),
        module: firmware.map(|firmware| module_of(&firmware.new.module)).unwrap_or_default(),
        job_kind: match new.kind {
            JobKind::Verify => "VERIFY",
            JobKind::Static => "STATIC",
            JobKind::Dynamic => "DYNAMIC",
        }
        .to_owned(),
        target: new.target.selection().to_owned(),
        gray,
        names,
        status: job.status.as_str().to_owned(),
        per_minute: policy.maximum_per_minute.get(),
        schedule_us: instant(new.schedule.start),
        finish_us: instant(new.schedule.finish),
        retry: policy.retry.as_ref().map(|retry| (retry.count, seconds(retry.interval))),
        timeout_s: policy.timeout.map(seconds),
        // 1 or 2.
        overwrite: u8::try_from(policy.overwrite.code()).unwrap_or_default(),
        multi_module: policy.multi_module,
        need_push: policy.need_push,
        need_confirm: policy.need_confirm,
        token: token_of(asked),
        digest: hex(&asked.digest),
    }))
}

pub(super) fn counts(job: i64, counts: &TaskCounts) -> Fact {
    Fact::Counts { job, by_status: counts.by_status, notices: counts.notices }
}
