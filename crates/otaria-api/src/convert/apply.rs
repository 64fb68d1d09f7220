//! Batches of names.

use otaria_core::ids::iot_id;
use otaria_engine::command::{AppliedDevice, ApplyStatus, ApplyView, CheckedNames, NameFault};
use otaria_ports::store::RefusedName;
use otaria_proto::v1;

pub(crate) fn checked(checked: CheckedNames) -> v1::BatchCheckDeviceNamesResponse {
    let CheckedNames { apply, refused } = checked;
    let of =
        |fault: NameFault| refused.iter().filter(move |(other, _)| *other == fault).map(|(_, name)| name);
    v1::BatchCheckDeviceNamesResponse {
        apply_id: apply.0,
        invalid_detail_list: refused.iter().map(|(_, name)| detail(name)).collect(),
        invalid_device_name_list: of(NameFault::Name).map(|name| name.name.clone()).collect(),
        invalid_device_nickname_list: of(NameFault::Nickname)
            .map(|name| name.nickname.clone().unwrap_or_default())
            .collect(),
        repeated_device_name_list: of(NameFault::Repeated).map(|name| name.name.clone()).collect(),
    }
}

fn detail(name: &RefusedName) -> v1::InvalidDetail {
    v1::InvalidDetail {
        device_name: name.name.clone(),
        nick_name: name.nickname.clone(),
        error_msg: name.reason.clone(),
    }
}

pub(crate) fn queried(view: ApplyView) -> v1::QueryBatchRegisterDeviceStatusResponse {
    let status = match view.status {
        ApplyStatus::CheckSuccess => v1::BatchRegisterStatus::CheckSuccess,
        ApplyStatus::CheckFailed => v1::BatchRegisterStatus::CheckFailed,
        ApplyStatus::CreateSuccess => v1::BatchRegisterStatus::CreateSuccess,
        ApplyStatus::CreateFailed => v1::BatchRegisterStatus::CreateFailed,
    };
    v1::QueryBatchRegisterDeviceStatusResponse {
        status: status.into(),
        invalid_detail_list: view.refused.iter().map(detail).collect(),
        invalid_list: view.refused.into_iter().map(|name| name.name).collect(),
        valid_list: view.valid.iter().map(ToString::to_string).collect(),
    }
}

pub(crate) fn device(applied: AppliedDevice) -> v1::ApplyDeviceInfo {
    v1::ApplyDeviceInfo {
        device_name: applied.device.name.to_string(),
        device_id: iot_id(applied.device.id),
        iot_id: iot_id(applied.device.id),
        device_secret: applied.secret,
    }
}
