//! The witness of replaced tasks: which of two jobs has a device.

use super::{Broken, Invariant};
use crate::ids::{JobNo, ModuleName};
use crate::job::{JobKind, JobPolicy, OverwriteMode};
use crate::task::TaskStatus;

/// What of a job decides between its task and another job's at the same device. None of it ever changes.
#[derive(Clone, Copy, Debug)]
pub struct Rival<'a> {
    /// Its number: of two dynamic jobs the one with the greater number is the later.
    pub job: JobNo,
    /// What for.
    pub kind: JobKind,
    /// How it treats devices.
    pub policy: &'a JobPolicy,
    /// Which module it updates.
    pub module: &'a ModuleName,
}

/// What it breaks that a task of `earlier`, in this status until then, made room for one of `later`.
#[must_use]
pub fn replaced(status: TaskStatus, earlier: &Rival<'_>, later: &Rival<'_>) -> Option<Broken> {
    wrong(status, earlier, later).map(|why| {
        let (from, to, status) = (earlier.job, later.job, status.as_str());
        let seen = format!("job {to} replaced a task of job {from} that was {status}: {why}");
        Broken::new(Invariant::Replaced, seen)
    })
}

fn wrong(status: TaskStatus, earlier: &Rival<'_>, later: &Rival<'_>) -> Option<&'static str> {
    match status {
        TaskStatus::InProgress => return Some("its update was under way"),
        TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => return Some("it had ended"),
        TaskStatus::Confirm | TaskStatus::Queued | TaskStatus::Notified => {}
    }
    let same_module = earlier.module == later.module;
    if earlier.policy.multi_module && later.policy.multi_module && !same_module {
        return Some("it is of another module");
    }
    if earlier.kind == JobKind::Dynamic && later.kind == JobKind::Dynamic {
        return (earlier.job >= later.job).then_some("the latest dynamic job has the device");
    }
    let may = later.policy.overwrite == OverwriteMode::Replace || (later.policy.multi_module && same_module);
    (!may).then_some("the earlier task stays")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::DownloadProtocol;
    use crate::pace::PerMinute;

    const KEEP: JobPolicy = JobPolicy {
        maximum_per_minute: PerMinute::DEFAULT,
        retry: None,
        timeout: None,
        offer_timeout: None,
        overwrite: OverwriteMode::Keep,
        multi_module: false,
        need_push: true,
        need_confirm: false,
        download_protocol: DownloadProtocol::Https,
    };
    const REPLACE: JobPolicy = JobPolicy { overwrite: OverwriteMode::Replace, ..KEEP };
    const MULTI: JobPolicy = JobPolicy { multi_module: true, ..KEEP };

    /// A job's number and kind, what it says, and its module.
    type Job<'a> = (i64, JobKind, &'a JobPolicy, &'a str);

    fn why(status: TaskStatus, earlier: Job<'_>, later: Job<'_>) -> Option<&'static str> {
        let modules = [earlier.3, later.3].map(|module| ModuleName::parse(module).unwrap());
        let rival = |(job, kind, policy, _), module| Rival { job: JobNo(job), kind, policy, module };
        let (earlier, later) = (rival(earlier, &modules[0]), rival(later, &modules[1]));
        let broken = replaced(status, &earlier, &later);
        assert!(broken.is_none_or(|broken| broken.invariant == Invariant::Replaced));
        wrong(status, &earlier, &later)
    }

    fn fixed<'a>(job: i64, policy: &'a JobPolicy, module: &'a str) -> Job<'a> {
        (job, JobKind::Static, policy, module)
    }

    fn dynamic<'a>(job: i64, policy: &'a JobPolicy, module: &'a str) -> Job<'a> {
        (job, JobKind::Dynamic, policy, module)
    }

    #[test]
    fn only_what_is_open_and_not_under_way_makes_room() {
        let why = |status| why(status, fixed(1, &KEEP, "lamp"), fixed(2, &REPLACE, "lamp"));
        for status in TaskStatus::ALL {
            let expected = match status {
                TaskStatus::Confirm | TaskStatus::Queued | TaskStatus::Notified => None,
                TaskStatus::InProgress => Some("its update was under way"),
                TaskStatus::Succeeded | TaskStatus::Failed | TaskStatus::Canceled => Some("it had ended"),
            };
            assert_eq!(why(status), expected, "{status:?}");
        }
    }

    #[test]
    fn the_later_job_says_whether_it_replaces() {
        let why = |earlier, later| why(TaskStatus::Queued, earlier, later);
        let stays = Some("the earlier task stays");
        assert_eq!(why(fixed(1, &REPLACE, "lamp"), fixed(2, &KEEP, "lamp")), stays);
        assert_eq!(why(fixed(1, &KEEP, "lamp"), fixed(2, &REPLACE, "camera")), None);
        // Who is expanded later may have been made before.
        assert_eq!(why(fixed(2, &KEEP, "lamp"), fixed(1, &REPLACE, "lamp")), None);
    }

    #[test]
    fn a_module_of_a_job_for_several_modules_is_replaced_by_its_own_kind() {
        let why = |earlier, later| why(TaskStatus::Notified, earlier, later);
        let (stays, other) = (Some("the earlier task stays"), Some("it is of another module"));
        assert_eq!(why(fixed(1, &MULTI, "lamp"), fixed(2, &MULTI, "lamp")), None);
        assert_eq!(why(fixed(1, &KEEP, "lamp"), fixed(2, &MULTI, "lamp")), None);
        assert_eq!(why(fixed(1, &MULTI, "lamp"), fixed(2, &MULTI, "camera")), other);
        assert_eq!(why(fixed(1, &KEEP, "lamp"), fixed(2, &MULTI, "camera")), stays);
        assert_eq!(why(fixed(1, &MULTI, "lamp"), fixed(2, &KEEP, "lamp")), stays);
        assert_eq!(why(fixed(1, &MULTI, "lamp"), fixed(2, &REPLACE, "camera")), None);
        assert_eq!(why(dynamic(1, &MULTI, "lamp"), dynamic(2, &MULTI, "camera")), other);
    }

    #[test]
    fn the_latest_of_dynamic_jobs_has_the_device() {
        let why = |earlier, later| why(TaskStatus::Queued, earlier, later);
        let latest = Some("the latest dynamic job has the device");
        assert_eq!(why(dynamic(1, &KEEP, "lamp"), dynamic(2, &KEEP, "lamp")), None);
        assert_eq!(why(dynamic(2, &KEEP, "lamp"), dynamic(1, &REPLACE, "lamp")), latest);
        assert_eq!(why(dynamic(1, &KEEP, "lamp"), dynamic(1, &REPLACE, "lamp")), latest);
        let stays = Some("the earlier task stays");
        assert_eq!(why(fixed(1, &KEEP, "lamp"), dynamic(2, &KEEP, "lamp")), stays);
        assert_eq!(why(dynamic(1, &KEEP, "lamp"), fixed(2, &KEEP, "lamp")), stays);
        assert_eq!(why(fixed(1, &KEEP, "lamp"), dynamic(2, &REPLACE, "lamp")), None);
    }

    #[test]
    fn what_is_seen_reads_alone() {
        let module = ModuleName::parse("lamp").unwrap();
        let rival = |job, policy| Rival { job: JobNo(job), kind: JobKind::Static, policy, module: &module };
        let broken = replaced(TaskStatus::InProgress, &rival(1, &KEEP), &rival(2, &REPLACE)).unwrap();
        let seen = "job 2 replaced a task of job 1 that was IN_PROGRESS: its update was under way";
        assert_eq!(broken, Broken::new(Invariant::Replaced, seen));
    }
}
