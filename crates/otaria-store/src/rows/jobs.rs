//! Jobs.

use std::time::Duration;

use otaria_core::expression::GroupExpression;
use otaria_core::gray::{GrayPercent, Last};
use otaria_core::ids::{
    AccountNo, ClientToken, DeviceId, DeviceName, FirmwareId, FirmwareNo, GroupNo, JobId, JobNo, ProductKey,
    ProductNo, Version,
};
use otaria_core::job::{
    DownloadProtocol, DynamicMode, JobKind, JobPolicy, JobStatus, NewJob, OverwriteMode, Schedule, Tag,
    Target,
};
use otaria_core::pace::PerMinute;
use otaria_core::task::{BulkAction, BulkFilter, CancelCause, FailureCause, RetryPolicy, TaskStatus};
use otaria_ports::store::{Bulk, Cursor, Expansion, Job, Rejections, SourceKind, StandingGroup, StoreError};
use serde_json::{Value, json};

use super::{Columns, Of};

pub(crate) fn job(row: &impl Columns) -> Result<Job, StoreError> {
    let of = Of { table: "job", row };
    Ok(Job {
        no: JobNo(of.get("no")?),
        id: of.parsed("id", |text: &str| JobId::parse(text).ok())?,
        account: AccountNo(of.get("account_id")?),
        product: ProductNo(of.get("product_no")?),
        firmware: FirmwareNo(of.get("firmware_no")?),
        new: new_job(&of)?,
        status: of.parsed("status", JobStatus::from_code)?,
        source: source(&of)?,
        upto: of.get("upto")?,
        expansion: expansion(&of)?,
        canceling: match of.get::<i64>("cancel_mask")? {
            0 => None,
            mask => Some((mask, of.parsed("cancel_cause", CancelCause::from_code)?)),
        },
        bulk: bulk(row)?,
        fence: of.count("fence")?,
        rate_version: of.count("rate_version")?,
        created_at: of.at("created_at")?,
        modified_at: of.at("modified_at")?,
        started_at: of.maybe_at("started_at")?,
        ended_at: of.maybe_at("ended_at")?,
    })
}

/// The last action on many of a job's tasks, if there ever was one.
pub(crate) fn bulk(row: &impl Columns) -> Result<Option<Bulk>, StoreError> {
    let of = Of { table: "job_bulk", row };
    let Some(action) = of.maybe("bulk_action", BulkAction::from_code)? else { return Ok(None) };
    let mask: i64 = of.get("bulk_statuses")?;
    let statuses = TaskStatus::ALL.into_iter().filter(|status| mask & (1 << status.code()) != 0).collect();
    let causes = of.parsed("bulk_causes", |text: &str| {
        let codes: Vec<i64> = serde_json::from_str(text).ok()?;
        codes.into_iter().map(FailureCause::from_code).collect()
    })?;
    Ok(Some(Bulk {
        filter: BulkFilter { action, statuses, causes },
        after: of.parsed("bulk_seq", |n: i64| u32::try_from(n).ok())?,
        moved: of.count("bulk_moved")?,
        passed: of.count("bulk_passed")?,
        done: of.get::<i64>("bulk_done")? == 1,
    }))
}

fn source(of: &Of<'_, impl Columns>) -> Result<SourceKind, StoreError> {
    if let Some(count) = of.maybe("part_count", |n: i64| u64::try_from(n).ok())? {
        let last = of.get::<Option<i64>>("part_device")?.map(DeviceId);
        let rank = of.get::<Option<i64>>("part_rank")?.unwrap_or_default().cast_unsigned();
        let last = last.map(|device| Last { rank, device });
        return Ok(SourceKind::Part { matching: of.count("part_matching")?, count, last });
    }
    if let Some(group) = of.get::<Option<i64>>("group_no")? {
        return Ok(SourceKind::Group { group: GroupNo(group), upto: of.get("group_upto")? });
    }
    if let Some(mode) = of.maybe("dynamic_mode", DynamicMode::from_code)? {
        let expression = of.maybe("expression", |text: &str| GroupExpression::parse(text).ok())?;
        let no = of.get::<Option<i64>>("standing_group")?.map(GroupNo);
        let group = no.zip(expression).map(|(no, expression)| StandingGroup { no, expression });
        return Ok(SourceKind::Standing { mode, group });
    }
    match of.get::<i64>("source")? {
        0 => Ok(SourceKind::Names),
        1 => Ok(SourceKind::File { object: of.get("source_object")?, size: of.count("source_size")? }),
        2 => Ok(SourceKind::Product),
        _ => Err(of.corrupt("source is none that there is")),
    }
}

fn new_job(of: &Of<'_, impl Columns>) -> Result<NewJob, StoreError> {
    let flag = |column| of.get::<i64>(column).map(|n| n == 1);
    let span = |column| of.maybe(column, |ms: i64| u64::try_from(ms).ok().map(Duration::from_millis));
    let retry = match span("retry_interval")? {
        Some(interval) => {
            Some(RetryPolicy { interval, count: of.parsed("retry_count", |n: i64| u8::try_from(n).ok())? })
        }
        None => None,
    };
    Ok(NewJob {
        kind: of.parsed("kind", JobKind::from_code)?,
        product: of.parsed("key", |text: &str| ProductKey::parse(text).ok())?,
        firmware: of.parsed("firmware_id", |text: &str| FirmwareId::parse(text).ok())?,
        target: of.parsed("target", read_target)?,
        schedule: Schedule { start: of.maybe_at("schedule_start")?, finish: of.maybe_at("schedule_finish")? },
        policy: JobPolicy {
            maximum_per_minute: of
                .parsed("maximum_per_minute", |n: i64| PerMinute::new(u32::try_from(n).ok()?))?,
            retry,
            timeout: span("timeout")?,
            offer_timeout: span("offer_timeout")?,
            overwrite: of.parsed("overwrite", OverwriteMode::from_code)?,
            multi_module: flag("multi_module")?,
            need_push: flag("need_push")?,
            need_confirm: flag("need_confirm")?,
            download_protocol: of.parsed("download_protocol", DownloadProtocol::parse)?,
        },
        tags: of.parsed("tags", read_tags)?,
        description: of.get("description")?,
        client_token: of.maybe("client_token", |text: &str| ClientToken::parse(text).ok())?,
    })
}

pub(crate) fn expansion(of: &Of<'_, impl Columns>) -> Result<Expansion, StoreError> {
    Ok(Expansion {
        cursor: Cursor {
            offset: of.count("cursor_offset")?,
            slice: of.parsed("cursor_slice", |n: i64| u32::try_from(n).ok())?,
            after: of.get("cursor_after")?,
        },
        complete: of.get::<i64>("complete")? == 1,
        lines: of.count("lines")?,
        tasks: of.count("tasks")?,
        skipped: of.count("skipped")?,
        rejected: Rejections {
            malformed: of.count("malformed")?,
            unknown: of.count("unknown")?,
            duplicate: of.count("duplicate")?,
        },
        busy: of.count("busy")?,
    })
}

/// A target as one text.
pub(crate) fn target(target: &Target) -> String {
    let versions = |versions: &[Version]| versions.iter().map(|v| v.as_str().to_owned()).collect::<Vec<_>>();
    let value = match target {
        Target::All { src_versions } => json!({ "all": versions(src_versions) }),
        Target::Names(names) => {
            json!({ "names": names.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>() })
        }
        Target::ListFile { file_url } => json!({ "file": file_url }),
        Target::Gray { percent, src_versions } => {
            json!({ "gray": percent.thousandths(), "versions": versions(src_versions) })
        }
        Target::Group { group_id } => json!({ "group": group_id }),
    };
    value.to_string()
}

pub(crate) fn read_target(text: &str) -> Option<Target> {
    let value: Value = serde_json::from_str(text).ok()?;
    let texts = |key: &str| value.get(key)?.as_array()?.iter().map(Value::as_str).collect::<Option<Vec<_>>>();
    let versions = |key| texts(key)?.into_iter().map(|text| Version::parse(text).ok()).collect();
    if let Some(src_versions) = versions("all") {
        return Some(Target::All { src_versions });
    }
    if let Some(names) = texts("names") {
        let names = names.into_iter().map(|text| DeviceName::parse(text).ok()).collect::<Option<_>>()?;
        return Some(Target::Names(names));
    }
    if let Some(file_url) = value.get("file") {
        return Some(Target::ListFile { file_url: file_url.as_str()?.to_owned() });
    }
    if let Some(percent) = value.get("gray") {
        let percent = GrayPercent::from_thousandths(u32::try_from(percent.as_u64()?).ok()?)?;
        return Some(Target::Gray { percent, src_versions: versions("versions")? });
    }
    Some(Target::Group { group_id: value.get("group")?.as_str()?.to_owned() })
}

/// Tags as one text.
pub(crate) fn tags(tags: &[Tag]) -> String {
    Value::Array(tags.iter().map(|tag| json!([tag.key, tag.value])).collect()).to_string()
}

fn read_tags(text: &str) -> Option<Vec<Tag>> {
    let tag = |tag: &Value| {
        Some(Tag { key: tag.get(0)?.as_str()?.to_owned(), value: tag.get(1)?.as_str()?.to_owned() })
    };
    serde_json::from_str::<Value>(text).ok()?.as_array()?.iter().map(tag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_survives_its_text() {
        let version = |text| Version::parse(text).unwrap();
        for kept in [
            Target::All { src_versions: vec![] },
            Target::All { src_versions: vec![version("1.0"), version("1.1")] },
            Target::Names(vec![DeviceName::parse("dev_1@a:b").unwrap()]),
            Target::ListFile { file_url: "http://x/?a=\"b\"".to_owned() },
            Target::Gray { percent: GrayPercent::parse("33.333").unwrap(), src_versions: vec![version("2")] },
            Target::Group { group_id: "g1".to_owned() },
        ] {
            assert_eq!(read_target(&target(&kept)), Some(kept));
        }
    }
}
