//! What most stories begin with: a product, devices, a package, a list, a job; and how they are read again.

use std::collections::{BTreeMap, BTreeSet};

use otaria_proto::v1::upload_device_name_list_request::Part as ListPart;
use otaria_proto::v1::upload_firmware_file_request::Part as FilePart;
use otaria_proto::v1::{
    CreateOtaFirmwareRequest, CreateOtaStaticUpgradeJobRequest, CreateProductRequest,
    ListOtaTaskByJobRequest, NewDevice, NodeType, QueryOtaJobRequest, QueryOtaJobResponse,
    RegisterDevicesRequest, SimpleOtaTaskInfo, TargetSelection, TaskCounts, TaskStatus,
    UploadDeviceNameListRequest, UploadDeviceNameListResponse, UploadFirmwareFileHeader,
    UploadFirmwareFileRequest, register_device_result,
};
use tonic::{Response, Status};

use crate::faces::{Faces, firmly};

/// Devices a call of registration.
const REGISTER_BATCH: usize = 10_000;

/// A device's name and secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) secret: String,
}

/// Makes a product and tells its key.
pub(crate) async fn product(faces: &Faces, name: &str) -> String {
    let request = CreateProductRequest {
        product_name: name.to_owned(),
        node_type: NodeType::Device.into(),
        ..CreateProductRequest::default()
    };
    faces.devices().create_product(request).await.unwrap().into_inner().product_key
}

/// Registers devices of these names.
pub(crate) async fn register(
    faces: &Faces,
    product: &str,
    names: impl IntoIterator<Item = String>,
) -> Vec<Identity> {
    let named = names.into_iter().map(|device_name| NewDevice { device_name, nickname: None });
    let devices: Vec<NewDevice> = named.collect();
    let mut identities = Vec::with_capacity(devices.len());
    for batch in devices.chunks(REGISTER_BATCH) {
        let request = RegisterDevicesRequest { product_key: product.to_owned(), device: batch.to_vec() };
        let results = faces.devices().register_devices(request).await.unwrap().into_inner().results;
        identities.extend(results.into_iter().map(|result| match result.result {
            Some(register_device_result::Result::Device(device)) => {
                Identity { name: device.device_name, secret: device.device_secret }
            }
            other => panic!("not registered: {other:?}"),
        }));
    }
    identities
}

/// Uploads a small package and makes a firmware of it that needs no verification.
pub(crate) async fn firmware(faces: &Faces, product: &str, version: &str) -> String {
    let parts = [
        FilePart::Header(UploadFirmwareFileHeader::default()),
        FilePart::Chunk(version.repeat(1_000).into_bytes().into()),
    ];
    let messages = parts.map(|part| UploadFirmwareFileRequest { part: Some(part) });
    let upload = faces.firmware().upload_firmware_file(futures_util::stream::iter(messages)).await;
    let request = CreateOtaFirmwareRequest {
        firmware_name: format!("{product}-{}", version.replace('.', "_")),
        dest_version: version.to_owned(),
        firmware_url: Some(upload.unwrap().into_inner().firmware_url),
        product_key: product.to_owned(),
        need_to_verify: Some(false),
        ..CreateOtaFirmwareRequest::default()
    };
    faces.firmware().create_ota_firmware(request).await.unwrap().into_inner().firmware_id
}

/// Uploads a list of names, in chunks that end anywhere.
pub(crate) async fn upload_list(
    faces: &Faces,
    list: &[u8],
) -> Result<Response<UploadDeviceNameListResponse>, Status> {
    let chunks: Vec<_> = list
        .chunks(100_003)
        .map(|chunk| UploadDeviceNameListRequest { part: Some(ListPart::Chunk(chunk.to_vec().into())) })
        .collect();
    faces.jobs().upload_device_name_list(futures_util::stream::iter(chunks)).await
}

/// A job for the devices of a list; what else it should be is up to the caller.
pub(crate) fn list_job(product: &str, firmware: &str, url: &str) -> CreateOtaStaticUpgradeJobRequest {
    CreateOtaStaticUpgradeJobRequest {
        firmware_id: firmware.to_owned(),
        product_key: product.to_owned(),
        target_selection: TargetSelection::Specific.into(),
        dn_list_file_url: Some(url.to_owned()),
        ..CreateOtaStaticUpgradeJobRequest::default()
    }
}

/// A job for these devices.
pub(crate) fn names_job<'a>(
    product: &str,
    firmware: &str,
    names: impl IntoIterator<Item = &'a str>,
) -> CreateOtaStaticUpgradeJobRequest {
    CreateOtaStaticUpgradeJobRequest {
        firmware_id: firmware.to_owned(),
        product_key: product.to_owned(),
        target_selection: TargetSelection::Specific.into(),
        target_device_name: names.into_iter().map(str::to_owned).collect(),
        ..CreateOtaStaticUpgradeJobRequest::default()
    }
}

/// Makes a job for the devices of this list, which is uploaded first.
pub(crate) async fn create_by_list(
    faces: &Faces,
    product: &str,
    firmware: &str,
    list: &[u8],
    maximum_per_minute: i32,
) -> String {
    let url = upload_list(faces, list).await.unwrap().into_inner().file_url;
    let request = CreateOtaStaticUpgradeJobRequest {
        maximum_per_minute: Some(maximum_per_minute),
        ..list_job(product, firmware, &url)
    };
    faces.jobs().create_ota_static_upgrade_job(request).await.unwrap().into_inner().job_id
}

/// All about a job.
pub(crate) async fn query(faces: &Faces, job: &str) -> QueryOtaJobResponse {
    let call = async || faces.jobs().query_ota_job(QueryOtaJobRequest { job_id: job.to_owned() }).await;
    firmly(call).await.unwrap()
}

/// All tasks of a job, page by page. Fails if a device is among them twice.
pub(crate) async fn tasks(faces: &Faces, job: &str) -> BTreeMap<String, SimpleOtaTaskInfo> {
    let mut request = ListOtaTaskByJobRequest {
        job_id: job.to_owned(),
        page_size: Some(1_000),
        ..ListOtaTaskByJobRequest::default()
    };
    let mut all = BTreeMap::new();
    loop {
        let page = firmly(async || faces.tasks().list_ota_task_by_job(request.clone()).await).await.unwrap();
        for task in page.tasks {
            let name = task.device_name.clone();
            assert!(all.insert(name.clone(), task).is_none(), "{name} is there twice");
        }
        if page.next_page_token.is_empty() {
            return all;
        }
        request.page_token = page.next_page_token;
    }
}

/// Tasks by status, counted one by one.
pub(crate) fn group_by<'a>(tasks: impl IntoIterator<Item = &'a SimpleOtaTaskInfo>) -> TaskCounts {
    let mut counts = TaskCounts::default();
    for task in tasks {
        *match task.task_status() {
            TaskStatus::Confirm => &mut counts.confirm,
            TaskStatus::Queued => &mut counts.queued,
            TaskStatus::Notified => &mut counts.notified,
            TaskStatus::InProgress => &mut counts.in_progress,
            TaskStatus::Succeeded => &mut counts.succeeded,
            TaskStatus::Failed => &mut counts.failed,
            TaskStatus::Canceled => &mut counts.canceled,
            TaskStatus::Unspecified => panic!("{} has no status", task.device_name),
        } += 1;
    }
    counts
}

/// The names of the tasks in a status.
pub(crate) fn in_status(tasks: &BTreeMap<String, SimpleOtaTaskInfo>, status: TaskStatus) -> BTreeSet<&str> {
    tasks.values().filter(|task| task.task_status() == status).map(|task| task.device_name.as_str()).collect()
}
