//! The rules of the three calls that create jobs.

mod policy;
mod target;
mod update;

use std::time::Duration;

pub use policy::TagParams;
pub use update::UpdateJobParams;

use super::text::{free, given, name, required};
use super::{Code, Limits, Refusal};
use crate::firmware::{FirmwareEvent, FirmwareRefusal};
use crate::ids::{ClientToken, FirmwareId, ProductKey};
use crate::job::{DownloadProtocol, DynamicMode, FirmwareFacts, JobKind, NewJob, Schedule, Target};
use crate::time::Timestamp;

/// Bytes of a package at most that devices download over MQTT.
pub const MQTT_MAX_BYTES: u64 = 16 * 1024 * 1024;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// What all calls that create a job have in common, as a face received it.
///
/// The seed's `CreateOTAVerifyJob` knows no rate, retry, overwrite or module mode: absent there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct JobParams {
    pub product_key: Option<String>,
    pub firmware_id: Option<String>,
    pub maximum_per_minute: Option<i64>,
    pub retry_interval: Option<i64>,
    pub retry_count: Option<i64>,
    pub timeout_in_minutes: Option<i64>,
    /// Ours: a device that had the notice and never reports fails after so long.
    pub offer_timeout_in_minutes: Option<i64>,
    pub overwrite_mode: Option<i64>,
    pub multi_module_mode: Option<bool>,
    pub need_push: Option<bool>,
    pub need_confirm: Option<bool>,
    pub download_protocol: Option<String>,
    pub tag: Vec<TagParams>,
    /// Ours: free text that `QueryOTAJob` shows.
    pub job_desc: Option<String>,
    /// Ours: a repeat of the call with the same token makes no second job.
    pub client_token: Option<String>,
}

/// `CreateOTAStaticUpgradeJob` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct StaticUpgradeParams {
    pub job: JobParams,
    pub target_selection: Option<String>,
    pub src_version: Vec<String>,
    pub target_device_name: Vec<String>,
    pub dn_list_file_url: Option<String>,
    pub group_id: Option<String>,
    pub group_type: Option<String>,
    pub gray_percent: Option<String>,
    pub schedule_time: Option<i64>,
    pub schedule_finish_time: Option<i64>,
}

/// `CreateOTAVerifyJob` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct VerifyParams {
    pub job: JobParams,
    /// An older document spells it `TargetDeviceNames`: a face that reads texts takes that when this is
    /// absent.
    pub target_device_name: Vec<String>,
}

/// `CreateOTADynamicUpgradeJob` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DynamicUpgradeParams {
    pub job: JobParams,
    pub src_version: Vec<String>,
    pub group_id: Option<String>,
    pub group_type: Option<String>,
    pub dynamic_mode: Option<i64>,
}

/// A dynamic job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDynamicJob {
    /// The job. Its target is ALL, or GROUP with a dynamic group.
    pub job: NewJob,
    /// Which devices.
    pub mode: DynamicMode,
}

impl JobParams {
    fn parse(
        &self,
        kind: JobKind,
        target: impl FnOnce() -> Result<Target, Refusal>,
        schedule: impl FnOnce() -> Result<Schedule, Refusal>,
        limits: &Limits,
    ) -> Result<NewJob, Refusal> {
        let firmware = required("FirmwareId", self.firmware_id.as_ref())?;
        let product = required("ProductKey", self.product_key.as_ref())?;
        let description = self.job_desc.as_deref().unwrap_or_default();
        Ok(NewJob {
            kind,
            product: name("ProductKey", Code::InvalidProductKey, product, ProductKey::parse)?,
            firmware: name("FirmwareId", Code::InvalidParameter, firmware, FirmwareId::parse)?,
            target: target()?,
            schedule: schedule()?,
            policy: policy::parse(self, limits)?,
            tags: policy::tags(&self.tag)?,
            description: free("JobDesc", Code::InvalidParameter, description, 0, 100)?,
            client_token: match given(self.client_token.as_ref()) {
                None => None,
                Some(text) => Some(name("ClientToken", Code::InvalidParameter, text, ClientToken::parse)?),
            },
        })
    }
}

impl StaticUpgradeParams {
    /// Makes a valid job of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, now: Timestamp, limits: &Limits) -> Result<NewJob, Refusal> {
        self.job.parse(JobKind::Static, || target::of_static(self), || self.schedule(now), limits)
    }

    fn schedule(&self, now: Timestamp) -> Result<Schedule, Refusal> {
        let start = match self.schedule_time {
            None => None,
            Some(millis) => {
                let between = (now + 5 * MINUTE, now + 7 * DAY);
                let rule = "must be 5 minutes to 7 days from now";
                Some(instant("ScheduleTime", Code::InvalidScheduleTime, millis, between, rule)?)
            }
        };
        let finish = match self.schedule_finish_time {
            None => None,
            Some(millis) => {
                let from = start.unwrap_or(now);
                let between = (from + HOUR, from + 30 * DAY);
                let rule = "must be 1 hour to 30 days after ScheduleTime, or after now without it";
                Some(instant("ScheduleFinishTime", Code::InvalidScheduleFinishTime, millis, between, rule)?)
            }
        };
        Ok(Schedule { start, finish })
    }
}

impl VerifyParams {
    /// Makes a valid job of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, limits: &Limits) -> Result<NewJob, Refusal> {
        let target = || target::of_verify(&self.target_device_name);
        self.job.parse(JobKind::Verify, target, || Ok(Schedule::default()), limits)
    }
}

impl DynamicUpgradeParams {
    /// Makes a valid job of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self, limits: &Limits) -> Result<NewDynamicJob, Refusal> {
        let target = || target::of_dynamic(self);
        let job = self.job.parse(JobKind::Dynamic, target, || Ok(Schedule::default()), limits)?;
        let mode = self.dynamic_mode.map_or(Some(DynamicMode::default()), DynamicMode::from_code);
        let unknown = || Refusal::invalid(Code::InvalidParameter, "DynamicMode", "must be 1 or 2");
        Ok(NewDynamicJob { job, mode: mode.ok_or_else(unknown)? })
    }
}

/// An instant of 13 digits between two others, both allowed.
fn instant(
    parameter: &str,
    code: Code,
    millis: i64,
    (from, to): (Timestamp, Timestamp),
    rule: &str,
) -> Result<Timestamp, Refusal> {
    if !(1_000_000_000_000..=9_999_999_999_999).contains(&millis) {
        return Err(Refusal::invalid(code, parameter, "must be an instant in milliseconds, of 13 digits"));
    }
    let at = Timestamp::from_millis(millis);
    if (from..=to).contains(&at) {
        return Ok(at);
    }
    let (from, to) = (from.millis(), to.millis());
    Err(Refusal::invalid(code, parameter, format_args!("{rule}: {from} to {to}")))
}

/// What a job needs to know of the files it delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// How many there are.
    pub files: usize,
    /// All together.
    pub size_bytes: u64,
}

/// Checks what a valid job demands of its firmware, in the transaction that makes the job.
///
/// # Errors
/// Names the parameter that does not fit.
pub fn fits(job: &NewJob, firmware: &FirmwareFacts, package: Package) -> Result<(), Refusal> {
    let refuse = |code, parameter: &str, rule: &str| Err(Refusal::invalid(code, parameter, rule));
    match job.kind {
        JobKind::Verify => match firmware.status.on(FirmwareEvent::VerifyJobMade) {
            Ok(_) => {}
            Err(FirmwareRefusal::Verifying) => {
                return refuse(
                    Code::FirmwareVerifying,
                    "FirmwareId",
                    "names a firmware that is being verified",
                );
            }
            Err(
                FirmwareRefusal::NotNeeded | FirmwareRefusal::AlreadyVerified | FirmwareRefusal::NoVerifyJob,
            ) => {
                let rule = "names a firmware that is verified or needs no verification";
                return refuse(Code::FirmwareAlreadyVerified, "FirmwareId", rule);
            }
        },
        JobKind::Static | JobKind::Dynamic if !firmware.status.may_upgrade() => {
            return refuse(Code::FirmwareNotVerified, "FirmwareId", "names a firmware that is not verified");
        }
        JobKind::Static | JobKind::Dynamic => {}
    }
    let versions = job.target.src_versions();
    if let Some(only) = &firmware.src_version
        && let Some(at) = versions.iter().position(|version| version != only)
    {
        let rule = format!("must be {only}, the version that the difference package is for");
        return refuse(Code::InvalidSrcVersion, &format!("SrcVersion.{}", at + 1), &rule);
    }
    let by_mqtt = job.policy.download_protocol == DownloadProtocol::Mqtt;
    if by_mqtt && (package.files != 1 || package.size_bytes > MQTT_MAX_BYTES) {
        let rule = "may be MQTT only for a package of one file of at most 16 MB (16777216 bytes)";
        return refuse(Code::InvalidParameter, "DownloadProtocol", rule);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
