//! Registering devices in two steps.

use otaria_core::rules::DeviceParams;
use otaria_proto::v1;
use tonic::{Request, Status};

use super::super::Shared;
use super::groups::by_number_default;
use crate::convert::{apply as convert, text};
use crate::errors::{self, status_of};
use crate::paging::{Asked, Page};

pub(super) async fn check(
    shared: &Shared,
    request: Request<v1::BatchCheckDeviceNamesRequest>,
) -> Result<v1::BatchCheckDeviceNamesResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    if !request.device_name.is_empty() && !request.device_name_list.is_empty() {
        return Err(errors::invalid("DeviceNameList", "is not available together with DeviceName"));
    }
    let plain = request.device_name.into_iter();
    let plain = plain.map(|name| DeviceParams { device_name: text(name), nickname: None });
    let with_nicknames = request
        .device_name_list
        .into_iter()
        .map(|item| DeviceParams { device_name: text(item.device_name), nickname: item.device_nickname });
    let names: Vec<DeviceParams> = plain.chain(with_nicknames).collect();
    let key = text(request.product_key);
    let checked = shared.commands.check_names(&caller, now, key.as_ref(), &names).await;
    Ok(convert::checked(checked.map_err(status_of)?))
}

pub(super) async fn register_count(
    shared: &Shared,
    request: Request<v1::BatchRegisterDeviceRequest>,
) -> Result<v1::BatchRegisterDeviceResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let (key, count) = (text(request.product_key), i64::from(request.count));
    let apply = shared.commands.register_count(&caller, now, key.as_ref(), count).await;
    Ok(v1::BatchRegisterDeviceResponse { apply_id: apply.map_err(status_of)?.0 })
}

pub(super) async fn register(
    shared: &Shared,
    request: Request<v1::BatchRegisterDeviceWithApplyIdRequest>,
) -> Result<v1::BatchRegisterDeviceWithApplyIdResponse, Status> {
    let (caller, now, request) = shared.open(request)?;
    let key = text(request.product_key);
    let apply = shared.commands.register_checked(&caller, now, key.as_ref(), request.apply_id).await;
    Ok(v1::BatchRegisterDeviceWithApplyIdResponse { apply_id: apply.map_err(status_of)?.0 })
}

pub(super) async fn query(
    shared: &Shared,
    request: Request<v1::QueryBatchRegisterDeviceStatusRequest>,
) -> Result<v1::QueryBatchRegisterDeviceStatusResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let key = text(request.product_key);
    let view = shared.commands.query_apply(&caller, key.as_ref(), request.apply_id).await;
    Ok(convert::queried(view.map_err(status_of)?))
}

pub(super) async fn page(
    shared: &Shared,
    request: Request<v1::QueryPageByApplyIdRequest>,
) -> Result<v1::QueryPageByApplyIdResponse, Status> {
    let (caller, _, request) = shared.open(request)?;
    let asked = Asked {
        size: by_number_default(request.page_size, &request.page_token, request.current_page),
        token: &request.page_token,
        number: request.current_page,
        by_number_max: 50,
    };
    let list = ["QueryPageByApplyId", &request.apply_id.to_string()];
    let page: Page<usize> = Page::read(asked, &list, |text| text.parse().ok())?;
    let from = page.after.unwrap_or(page.skip);
    let listed = shared.commands.devices_of_apply(&caller, request.apply_id, from, page.size).await;
    let (_, listed) = listed.map_err(status_of)?;
    let answer = page.answer(listed.total, listed.next);
    Ok(v1::QueryPageByApplyIdResponse {
        devices: listed.rows.into_iter().map(convert::device).collect(),
        next_page_token: answer.next_page_token,
        current_page: answer.current_page,
        page_size: answer.page_size,
        page_count: answer.page_count,
        total: answer.total,
    })
}
