//! The rules of `UpdateOTAJob`.

use super::super::text::given;
use super::super::{Code, Limits, Refusal};
use super::{TagParams, policy, target};
use crate::job::{JobKind, JobUpdate, NewJob, Target};

/// `UpdateOTAJob` as a face received it; what is absent or empty stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct UpdateJobParams {
    pub maximum_per_minute: Option<i64>,
    pub timeout_in_minutes: Option<i64>,
    pub src_version_list: Vec<String>,
    pub tags: Vec<TagParams>,
    pub target_selection: Option<String>,
}

impl UpdateJobParams {
    /// Makes a valid change of this job of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, job: &NewJob, limits: &Limits) -> Result<JobUpdate, Refusal> {
        let selection = job.target_selection();
        if given(self.target_selection.as_ref()).is_some_and(|wanted| wanted != selection) {
            let rule = format!("is {selection} for this job and cannot be changed");
            return Err(Refusal::invalid(Code::InvalidTargetSelection, "TargetSelection", rule));
        }
        let timeout = policy::minutes("TimeoutInMinutes", self.timeout_in_minutes)?;
        let retry = job.policy.retry.map(|retry| retry.interval);
        if let (Some(timeout), Some(interval)) = (timeout, retry)
            && timeout <= interval
        {
            let rule = format!("must be more than the job's RetryInterval of {}", interval.as_secs() / 60);
            return Err(Refusal::invalid(Code::InvalidTimeout, "TimeoutInMinutes", rule));
        }
        Ok(JobUpdate {
            maximum_per_minute: match self.maximum_per_minute {
                None => None,
                wanted => Some(policy::per_minute(wanted, limits)?),
            },
            timeout,
            tags: match &self.tags[..] {
                [] => None,
                tags => Some(policy::tags_of("Tags", tags)?),
            },
            src_versions: self.src_versions(job)?,
        })
    }

    /// The devices of a static job are fixed when it is made, and those of a group are the group's.
    fn src_versions(&self, job: &NewJob) -> Result<Option<Vec<crate::ids::Version>>, Refusal> {
        if self.src_version_list.is_empty() {
            return Ok(None);
        }
        match (job.kind, &job.target) {
            (JobKind::Dynamic, Target::All { .. }) => {
                target::versions("SrcVersionList", &self.src_version_list).map(Some)
            }
            _ => {
                let rule = "can be changed only of a dynamic job that has no group";
                Err(Refusal::invalid(Code::InvalidSrcVersion, "SrcVersionList", rule))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rules::{DynamicUpgradeParams, JobParams};

    fn dynamic(change: impl FnOnce(&mut JobParams)) -> NewJob {
        let mut job = JobParams {
            product_key: Some("pk1".into()),
            firmware_id: Some("fw1".into()),
            ..JobParams::default()
        };
        change(&mut job);
        let params = DynamicUpgradeParams { job, ..DynamicUpgradeParams::default() };
        params.parse(&Limits::default()).unwrap().job
    }

    fn refused(params: &UpdateJobParams, job: &NewJob) -> (Code, String) {
        let refusal = params.parse(job, &Limits::default()).unwrap_err();
        (refusal.code, refusal.parameter)
    }

    #[test]
    fn what_is_given_changes_and_the_rest_stays() {
        let mut job = dynamic(|job| job.timeout_in_minutes = Some(5));
        let nothing = UpdateJobParams::default().parse(&job, &Limits::default()).unwrap();
        assert!(nothing.is_empty());
        let params = UpdateJobParams {
            maximum_per_minute: Some(10),
            src_version_list: vec!["1.0".into()],
            tags: vec![TagParams { key: Some("a".into()), value: Some("b".into()) }],
            target_selection: Some("ALL".into()),
            ..UpdateJobParams::default()
        };
        params.parse(&job, &Limits::default()).unwrap().apply(&mut job);
        assert_eq!(job.policy.maximum_per_minute.get(), 10);
        assert_eq!(job.policy.timeout, Some(Duration::from_secs(300)));
        assert_eq!(job.target.src_versions()[0].as_str(), "1.0");
        assert_eq!(job.tags[0].key, "a");
    }

    #[test]
    fn a_change_keeps_the_rules_of_a_new_job() {
        let job = dynamic(|job| (job.retry_interval, job.retry_count) = (Some(10), Some(1)));
        let params = UpdateJobParams::default();
        let rate = UpdateJobParams { maximum_per_minute: Some(9), ..params.clone() };
        assert_eq!(refused(&rate, &job), (Code::InvalidMaximumPerMinute, "MaximumPerMinute".into()));
        for minutes in [0, 10, 1_441] {
            let timeout = UpdateJobParams { timeout_in_minutes: Some(minutes), ..params.clone() };
            assert_eq!(refused(&timeout, &job), (Code::InvalidTimeout, "TimeoutInMinutes".into()));
        }
        let fixed = UpdateJobParams { target_selection: Some("GRAY".into()), ..params.clone() };
        assert_eq!(refused(&fixed, &job), (Code::InvalidTargetSelection, "TargetSelection".into()));
        let tags = UpdateJobParams { tags: vec![TagParams::default()], ..params.clone() };
        assert_eq!(refused(&tags, &job), (Code::MissingParameter, "Tags.1.Key".into()));
        let twice = vec!["1".to_owned(), "1".to_owned()];
        let versions = UpdateJobParams { src_version_list: twice, ..params.clone() };
        assert_eq!(refused(&versions, &job), (Code::InvalidSrcVersion, "SrcVersionList.2".into()));
        let fixed = NewJob { kind: JobKind::Static, ..job };
        let versions = UpdateJobParams { src_version_list: vec!["1".into()], ..params };
        assert_eq!(refused(&versions, &fixed), (Code::InvalidSrcVersion, "SrcVersionList".into()));
    }
}
