//! A file as the messages of an upload: a header, then chunks.

use std::path::Path;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use otaria_proto::v1::{
    UploadDeviceNameListRequest, UploadFirmwareFileHeader, UploadFirmwareFileRequest,
    upload_device_name_list_request as list, upload_firmware_file_request as firmware,
};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes a message: large enough for a fast stream, small enough for smooth progress.
const CHUNK_BYTES: usize = 256 << 10;

/// The messages that upload a package: `header`, then the bytes of `source`. `sent` is told of each chunk's
/// length when it is taken.
///
/// A file that cannot be read ends the stream early; the announced size then makes the server refuse it.
pub(crate) fn firmware_parts<R>(
    header: UploadFirmwareFileHeader,
    source: R,
    sent: impl FnMut(usize) + Send + 'static,
) -> impl Stream<Item = UploadFirmwareFileRequest> + Send + 'static
where
    R: AsyncRead + Unpin + Send + 'static,
{
    use futures_util::StreamExt;
    let first = firmware::Part::Header(header);
    let parts = chunks(source, sent).map(firmware::Part::Chunk);
    futures_util::stream::iter([first])
        .chain(parts)
        .map(|part| UploadFirmwareFileRequest { part: Some(part) })
}

/// The messages that upload a device list of `size_bytes`, by the same rules as [`firmware_parts`].
pub(crate) fn list_parts<R>(
    size_bytes: u64,
    source: R,
    sent: impl FnMut(usize) + Send + 'static,
) -> impl Stream<Item = UploadDeviceNameListRequest> + Send + 'static
where
    R: AsyncRead + Unpin + Send + 'static,
{
    use futures_util::StreamExt;
    let header = otaria_proto::v1::UploadDeviceNameListHeader {
        size_bytes: i64::try_from(size_bytes).ok(),
        sha256: None,
    };
    let parts = chunks(source, sent).map(list::Part::Chunk);
    futures_util::stream::iter([list::Part::Header(header)])
        .chain(parts)
        .map(|part| UploadDeviceNameListRequest { part: Some(part) })
}

/// Opens `path` and tells its size in bytes.
pub(crate) async fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let doing = || format!("cannot read {}", path.display());
    let file = File::open(path).await.with_context(doing)?;
    let size_bytes = file.metadata().await.with_context(doing)?.len();
    Ok((file, size_bytes))
}

fn chunks<R>(source: R, sent: impl FnMut(usize) + Send + 'static) -> impl Stream<Item = Bytes> + Send
where
    R: AsyncRead + Unpin + Send + 'static,
{
    futures_util::stream::unfold((source, sent), |(mut source, mut sent)| async move {
        let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
        while chunk.len() < CHUNK_BYTES {
            match source.read_buf(&mut chunk).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        sent(chunk.len());
        (!chunk.is_empty()).then(|| (chunk.freeze(), (source, sent)))
    })
}
