//! Which devices a job is for, and which parameters say so in which case.

use super::super::text::{distinct, free, given, name, required};
use super::super::{Code, Refusal, URL_MAX_CHARS};
use super::{DynamicUpgradeParams, StaticUpgradeParams};
use crate::gray::GrayPercent;
use crate::ids::{DeviceName, Version};
use crate::job::Target;

/// Devices by name at most; of a verify job.
const NAMES_MAX: usize = 200;
const VERIFY_NAMES_MAX: usize = 10;
/// Source versions at most.
const SRC_VERSIONS_MAX: usize = 10;

const STATIC_GROUP: &str = "LINK_PLATFORM";
const DYNAMIC_GROUP: &str = "LINK_PLATFORM_DYNAMIC";

pub(super) fn of_static(params: &StaticUpgradeParams) -> Result<Target, Refusal> {
    let selection = required("TargetSelection", params.target_selection.as_ref())?;
    let allowed: &[&str] = match selection {
        "ALL" => &["SrcVersion"],
        "SPECIFIC" => &["TargetDeviceName", "DnListFileUrl"],
        "GRAY" => &["SrcVersion", "GrayPercent"],
        "GROUP" => &["GroupId", "GroupType"],
        _ => {
            let rule = "must be ALL, SPECIFIC, GRAY or GROUP";
            return Err(Refusal::invalid(Code::InvalidTargetSelection, "TargetSelection", rule));
        }
    };
    refuse_strangers(params, selection, allowed)?;

    match selection {
        "ALL" => Ok(Target::All { src_versions: src_versions(&params.src_version)? }),
        "SPECIFIC" => specific(&params.target_device_name, params.dn_list_file_url.as_ref()),
        "GRAY" => Ok(Target::Gray {
            percent: percent(params.gray_percent.as_ref())?,
            src_versions: src_versions(&params.src_version)?,
        }),
        _ => group(
            params.group_id.as_ref(),
            params.group_type.as_ref(),
            STATIC_GROUP,
            " with TargetSelection GROUP",
        ),
    }
}

pub(super) fn of_verify(names: &[String]) -> Result<Target, Refusal> {
    if names.is_empty() {
        return Err(Refusal::missing("TargetDeviceName", ""));
    }
    device_names(names, VERIFY_NAMES_MAX)
}

pub(super) fn of_dynamic(params: &DynamicUpgradeParams) -> Result<Target, Refusal> {
    let (id, kind) = (params.group_id.as_ref(), params.group_type.as_ref());
    if given(id).is_none() && given(kind).is_none() {
        return Ok(Target::All { src_versions: src_versions(&params.src_version)? });
    }
    if !params.src_version.is_empty() {
        let rule = "is not available together with GroupId and GroupType";
        return Err(Refusal::invalid(Code::InvalidSrcVersion, "SrcVersion", rule));
    }
    group(id, kind, DYNAMIC_GROUP, " for a group")
}

/// Refuses parameters that belong to another `TargetSelection`.
fn refuse_strangers(params: &StaticUpgradeParams, selection: &str, allowed: &[&str]) -> Result<(), Refusal> {
    let parameters = [
        ("SrcVersion", Code::InvalidSrcVersion, !params.src_version.is_empty()),
        ("TargetDeviceName", Code::InvalidTargetDevices, !params.target_device_name.is_empty()),
        ("DnListFileUrl", Code::InvalidTargetDevices, given(params.dn_list_file_url.as_ref()).is_some()),
        ("GroupId", Code::InvalidTargetSelection, given(params.group_id.as_ref()).is_some()),
        ("GroupType", Code::InvalidTargetSelection, given(params.group_type.as_ref()).is_some()),
        ("GrayPercent", Code::InvalidGrayPercent, given(params.gray_percent.as_ref()).is_some()),
    ];
    match parameters.into_iter().find(|(parameter, _, is_given)| *is_given && !allowed.contains(parameter)) {
        None => Ok(()),
        Some((parameter, code, _)) => {
            let rule = format!("is not available with TargetSelection {selection}");
            Err(Refusal::invalid(code, parameter, rule))
        }
    }
}

fn specific(names: &[String], file: Option<&String>) -> Result<Target, Refusal> {
    match (names, given(file)) {
        ([], None) => Err(Refusal::missing(
            "TargetDeviceName",
            " with TargetSelection SPECIFIC, unless DnListFileUrl is given",
        )),
        ([_, ..], Some(_)) => {
            let rule = "is not available together with TargetDeviceName";
            Err(Refusal::invalid(Code::InvalidTargetDevices, "DnListFileUrl", rule))
        }
        ([], Some(url)) => {
            let file_url = free("DnListFileUrl", Code::DeviceListFileInvalid, url, 1, URL_MAX_CHARS)?;
            Ok(Target::ListFile { file_url })
        }
        (names, None) => device_names(names, NAMES_MAX),
    }
}

fn device_names(texts: &[String], max: usize) -> Result<Target, Refusal> {
    let code = Code::InvalidTargetDevices;
    let names = distinct("TargetDeviceName", code, max, texts, |place, text| {
        name(place, code, text, DeviceName::parse)
    })?;
    Ok(Target::Names(names))
}

fn src_versions(texts: &[String]) -> Result<Vec<Version>, Refusal> {
    versions("SrcVersion", texts)
}

/// Source versions under either of the names that they have.
pub(super) fn versions(parameter: &str, texts: &[String]) -> Result<Vec<Version>, Refusal> {
    let code = Code::InvalidSrcVersion;
    distinct(parameter, code, SRC_VERSIONS_MAX, texts, |place, text| name(place, code, text, Version::parse))
}

fn percent(text: Option<&String>) -> Result<GrayPercent, Refusal> {
    let Some(text) = given(text) else {
        return Err(Refusal::missing("GrayPercent", " with TargetSelection GRAY"));
    };
    let rule = "must be above 0 and at most 100, with at most 3 decimals";
    GrayPercent::parse(text).ok_or_else(|| Refusal::invalid(Code::InvalidGrayPercent, "GrayPercent", rule))
}

fn group(id: Option<&String>, kind: Option<&String>, wanted: &str, when: &str) -> Result<Target, Refusal> {
    let Some(id) = given(id) else { return Err(Refusal::missing("GroupId", when)) };
    let Some(kind) = given(kind) else { return Err(Refusal::missing("GroupType", when)) };
    if kind != wanted {
        let rule = format!("must be {wanted}");
        return Err(Refusal::invalid(Code::InvalidTargetSelection, "GroupType", rule));
    }
    Ok(Target::Group { group_id: free("GroupId", Code::InvalidTargetSelection, id, 1, 64)? })
}
