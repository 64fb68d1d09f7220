//! How a job treats its devices: rate, retries, timeouts, modes, tags.

use std::time::Duration;

use super::super::text::{between, free, given, one_of};
use super::super::{Code, Limits, Refusal};
use super::{JobParams, MINUTE};
use crate::ids::plain;
use crate::job::{DownloadProtocol, JobPolicy, OverwriteMode, Tag};
use crate::pace::PerMinute;
use crate::task::RetryPolicy;

/// The smallest rate.
const PER_MINUTE_MIN: u32 = 10;
/// Tags of a job at most.
const TAGS_MAX: usize = 10;
/// Characters of all keys and values of a job's tags at most.
const TAGS_MAX_CHARS: usize = 4_096;

/// One of `Tag`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct TagParams {
    pub key: Option<String>,
    pub value: Option<String>,
}

pub(super) fn parse(params: &JobParams, limits: &Limits) -> Result<JobPolicy, Refusal> {
    let timeout = minutes("TimeoutInMinutes", params.timeout_in_minutes)?;
    let multi_module = params.multi_module_mode.unwrap_or(false);
    Ok(JobPolicy {
        maximum_per_minute: per_minute(params.maximum_per_minute, limits)?,
        retry: retry(params.retry_interval, params.retry_count, timeout)?,
        timeout,
        offer_timeout: minutes("OfferTimeoutInMinutes", params.offer_timeout_in_minutes)?,
        overwrite: overwrite(params.overwrite_mode, multi_module)?,
        multi_module,
        need_push: params.need_push.unwrap_or(true),
        need_confirm: params.need_confirm.unwrap_or(false),
        download_protocol: download_protocol(params.download_protocol.as_ref())?,
    })
}

pub(super) fn per_minute(wanted: Option<i64>, limits: &Limits) -> Result<PerMinute, Refusal> {
    // A ceiling below the seed's smallest rate would leave no rate at all.
    let ceiling = limits.maximum_per_minute_ceiling.unwrap_or(u32::MAX).max(PER_MINUTE_MIN);
    let wanted = wanted.unwrap_or_else(|| i64::from(PerMinute::DEFAULT.get().min(ceiling)));
    let (min, max) = (i64::from(PER_MINUTE_MIN), i64::from(ceiling));
    let notices = between("MaximumPerMinute", Code::InvalidMaximumPerMinute, wanted, min, max)?;
    // Between 10 and the largest u32.
    Ok(u32::try_from(notices).ok().and_then(PerMinute::new).unwrap_or(PerMinute::DEFAULT))
}

pub(super) fn minutes(parameter: &str, given: Option<i64>) -> Result<Option<Duration>, Refusal> {
    let Some(minutes) = given else { return Ok(None) };
    let minutes = between(parameter, Code::InvalidTimeout, minutes, 1, 1_440)?;
    Ok(Some(MINUTE * u32::try_from(minutes).unwrap_or(u32::MAX)))
}

fn retry(
    interval: Option<i64>,
    count: Option<i64>,
    timeout: Option<Duration>,
) -> Result<Option<RetryPolicy>, Refusal> {
    let (interval, count) = match (interval, count) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(Refusal::missing("RetryCount", " with RetryInterval")),
        (None, Some(_)) => return Err(Refusal::missing("RetryInterval", " with RetryCount")),
        (Some(interval), Some(count)) => (interval, count),
    };
    let interval = one_of("RetryInterval", Code::InvalidRetry, interval, &[0, 10, 30, 60, 1_440])?;
    let count = one_of("RetryCount", Code::InvalidRetry, count, &[1, 2, 5])?;
    let interval = MINUTE * u32::try_from(interval).unwrap_or(u32::MAX);
    if timeout.is_some_and(|timeout| interval >= timeout) {
        return Err(Refusal::invalid(
            Code::InvalidRetry,
            "RetryInterval",
            "must be less than TimeoutInMinutes",
        ));
    }
    Ok(Some(RetryPolicy { interval, count: u8::try_from(count).unwrap_or(u8::MAX) }))
}

fn overwrite(mode: Option<i64>, multi_module: bool) -> Result<OverwriteMode, Refusal> {
    let refuse = |rule| Err(Refusal::invalid(Code::InvalidParameter, "OverwriteMode", rule));
    match mode.map_or(Some(OverwriteMode::default()), OverwriteMode::from_code) {
        None => refuse("must be 1 or 2"),
        Some(OverwriteMode::Replace) if multi_module => refuse("must not be 2 together with MultiModuleMode"),
        Some(mode) => Ok(mode),
    }
}

fn download_protocol(text: Option<&String>) -> Result<DownloadProtocol, Refusal> {
    let Some(text) = given(text) else { return Ok(DownloadProtocol::default()) };
    let unknown = || Refusal::invalid(Code::InvalidParameter, "DownloadProtocol", "must be HTTPS or MQTT");
    DownloadProtocol::parse(text).ok_or_else(unknown)
}

/// Tags end as members of one object on the device's wire, so a key is used once.
pub(super) fn tags(params: &[TagParams]) -> Result<Vec<Tag>, Refusal> {
    tags_of("Tag", params)
}

/// Tags under either of the names that they have.
pub(super) fn tags_of(name: &str, params: &[TagParams]) -> Result<Vec<Tag>, Refusal> {
    let refuse = |parameter: &str, rule: &str| Err(Refusal::invalid(Code::InvalidTags, parameter, rule));
    if params.len() > TAGS_MAX {
        return refuse(name, &format!("may have at most {TAGS_MAX} entries, not {}", params.len()));
    }
    let mut tags: Vec<Tag> = Vec::with_capacity(params.len());
    for (n, tag) in (1..).zip(params) {
        let (key_place, value_place) = (format!("{name}.{n}.Key"), format!("{name}.{n}.Value"));
        let Some(key) = given(tag.key.as_ref()) else { return Err(Refusal::missing(key_place, "")) };
        let Some(value) = given(tag.value.as_ref()) else { return Err(Refusal::missing(value_place, "")) };
        if !plain(key, 1, 30, ".") {
            return refuse(&key_place, "must be 1-30 letters, digits or `.`");
        }
        if tags.iter().any(|other| other.key == key) {
            return refuse(&key_place, "must be unique");
        }
        let value = free(&value_place, Code::InvalidTags, value, 1, 1_024)?;
        tags.push(Tag { key: key.to_owned(), value });
    }
    let chars: usize = tags.iter().map(|tag| tag.key.len() + tag.value.chars().count()).sum();
    if chars > TAGS_MAX_CHARS {
        return refuse(
            name,
            &format!("may have at most {TAGS_MAX_CHARS} characters in all keys and values, not {chars}"),
        );
    }
    Ok(tags)
}
