//! What takes more than one call: register many devices, upload a file.

use futures_util::StreamExt;
use otaria_proto::v1::{
    NewDevice, RegisterDeviceError, RegisterDevicesRequest, RegisteredDevice, UploadDeviceNameListResponse,
    UploadFirmwareFileHeader, UploadFirmwareFileResponse, register_device_result,
};
use tokio::io::AsyncRead;

use super::upload::{firmware_parts, list_parts};
use super::{Remote, answer};

/// Devices a call. The server takes more, but larger batches are not faster and cost both sides memory.
const REGISTER_BATCH: usize = 10_000;

/// Calls at a time: one that the server works on, and one on its way.
const REGISTER_AT_A_TIME: usize = 2;

/// How the registration of one device ended.
pub(crate) type Registered = Result<RegisteredDevice, RegisterDeviceError>;

impl Remote {
    /// Registers devices of these names, in batches; `done` hears of each batch in the order of the names.
    pub(crate) async fn register(
        &self,
        product_key: &str,
        mut names: impl Iterator<Item = String> + Send,
        mut done: impl FnMut(Vec<Registered>) -> anyhow::Result<()> + Send,
    ) -> anyhow::Result<()> {
        let batches = std::iter::from_fn(|| {
            let named = names.by_ref().map(|device_name| NewDevice { device_name, nickname: None });
            let batch: Vec<NewDevice> = named.take(REGISTER_BATCH).collect();
            (!batch.is_empty()).then_some(batch)
        });
        let calls = futures_util::stream::iter(batches).map(|device| {
            let request = RegisterDevicesRequest { product_key: product_key.to_owned(), device };
            let mut client = self.devices();
            async move { answer(client.register_devices(request)).await }
        });
        let mut answers = std::pin::pin!(calls.buffered(REGISTER_AT_A_TIME));
        while let Some(answered) = answers.next().await {
            let results = answered?.results.into_iter().filter_map(|result| result.result);
            done(
                results
                    .map(|result| match result {
                        register_device_result::Result::Device(device) => Ok(device),
                        register_device_result::Result::Error(error) => Err(error),
                    })
                    .collect(),
            )?;
        }
        Ok(())
    }

    /// Uploads a package; `sent` hears of the bytes as they go.
    pub(crate) async fn upload_firmware<R>(
        &self,
        header: UploadFirmwareFileHeader,
        source: R,
        sent: impl FnMut(usize) + Send + 'static,
    ) -> anyhow::Result<UploadFirmwareFileResponse>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        answer(self.firmware().upload_firmware_file(firmware_parts(header, source, sent))).await
    }

    /// Uploads a device list of `size_bytes`; `sent` hears of the bytes as they go.
    pub(crate) async fn upload_list<R>(
        &self,
        size_bytes: u64,
        source: R,
        sent: impl FnMut(usize) + Send + 'static,
    ) -> anyhow::Result<UploadDeviceNameListResponse>
    where
        R: AsyncRead + Unpin + Send + 'static,
    {
        answer(self.jobs().upload_device_name_list(list_parts(size_bytes, source, sent))).await
    }
}
