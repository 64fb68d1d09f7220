//! Downloads: a signed link in, the bytes of a package file out, whole or in one range. A link to rejected
//! lines goes on to `rejects`.
//!
//! Never buffers a file: the next piece is read when the connection took the last one.
//!
//! Invariant: a package's length is always told, and told right. A stream that ends early cuts the connection,
//! so a device never takes half a file for a whole one.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName,
    IF_NONE_MATCH, IF_RANGE, RANGE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::TryStreamExt;
use otaria_core::ids::FirmwareNo;
use otaria_core::link::{self, Link, LinkRefused, Linked};
use otaria_ports::objects::ObjectError;
use otaria_ports::store::{Firmwares, PackageFile, StoreError};

use crate::face::{Inner, text};
use crate::meters::{self, Route};
use crate::range::{Wanted, wanted};
use crate::rejects::reject_file;

pub(crate) const ROUTE: Route = Route::Download;

/// Finds the files of firmware.
#[async_trait]
pub trait Packages: Send + Sync {
    /// One file of a firmware, counted from 0; `None` when there is no such firmware or file.
    async fn package_file(&self, firmware: FirmwareNo, file: u8) -> Result<Option<PackageFile>, StoreError>;
}

/// The files of firmware in a store.
#[derive(Debug)]
pub struct StorePackages<S: ?Sized>(pub Arc<S>);

#[async_trait]
impl<S: Firmwares + ?Sized> Packages for StorePackages<S> {
    async fn package_file(&self, firmware: FirmwareNo, file: u8) -> Result<Option<PackageFile>, StoreError> {
        let firmware = self.0.firmware_by_no(firmware).await?;
        Ok(firmware.and_then(|firmware| firmware.files.into_iter().nth(usize::from(file))))
    }
}

pub(crate) async fn download(State(face): State<Arc<Inner>>, request: Request) -> Response {
    // The alphabet of tokens needs no percent encoding, so nothing is decoded either.
    let token = request.uri().path().strip_prefix("/d/").unwrap_or_default();
    let Link { to, .. } = match link::open(&face.link_key, token, face.clock.now()) {
        Ok(link) => link,
        Err(refused) => return refusal(refused),
    };
    let (method, headers) = (request.method(), request.headers());
    let (firmware, index) = match to {
        Linked::PackageFile { firmware, file } => (firmware, file),
        Linked::RejectFile { job } => return reject_file(&face, method, job).await,
    };

    let file = match face.packages.package_file(firmware, index).await {
        Ok(Some(file)) => file,
        Ok(None) => return text(ROUTE, StatusCode::NOT_FOUND, "this package is no longer here\n"),
        Err(error) => {
            tracing::warn!(firmware.no = firmware.0, file = index, %error, "cannot look a download up");
            return busy();
        }
    };
    answer(&face, method, headers, &file).await
}

async fn answer(face: &Inner, method: &Method, headers: &HeaderMap, file: &PackageFile) -> Response {
    let tag = format!("\"{}\"", file.sha256);
    if any_of(headers, IF_NONE_MATCH, |known| known == "*" || known.trim_start_matches("W/") == tag) {
        return describe(StatusCode::NOT_MODIFIED, file, &tag, file.size, Body::empty());
    }
    if method == Method::HEAD {
        return describe(StatusCode::OK, file, &tag, file.size, Body::empty());
    }

    match part_wanted(headers, file.size, &tag) {
        Wanted::Whole => match bytes_of(face, file, 0..file.size).await {
            Ok(body) => describe(StatusCode::OK, file, &tag, file.size, body),
            Err(refusal) => refusal,
        },
        Wanted::Part(part) => match bytes_of(face, file, part.clone()).await {
            Ok(body) => {
                let length = part.end - part.start;
                let place = format!("bytes {}-{}/{}", part.start, part.end - 1, file.size);
                let mut response = describe(StatusCode::PARTIAL_CONTENT, file, &tag, length, body);
                set(response.headers_mut(), CONTENT_RANGE, &place);
                response
            }
            Err(refusal) => refusal,
        },
        Wanted::Unsatisfiable => {
            let mut response = text(ROUTE, StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such part\n");
            set(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", file.size));
            response
        }
    }
}

/// `If-Range` asks for the part only while the file is the known one; we tell no dates, so a date is never it.
fn part_wanted(headers: &HeaderMap, size: u64, tag: &str) -> Wanted {
    let mut ranges = headers.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Wanted::Whole };
    if headers.get(IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes()) {
        return Wanted::Whole;
    }
    range.to_str().map_or(Wanted::Whole, |range| wanted(range, size))
}

async fn bytes_of(face: &Inner, file: &PackageFile, part: Range<u64>) -> Result<Body, Response> {
    if part.is_empty() {
        return Ok(Body::empty());
    }
    let object = file.object.clone();
    match face.objects.read(&object, part).await {
        Ok(pieces) => {
            let served = meters::download_bytes();
            Ok(Body::from_stream(
                pieces
                    .inspect_ok(move |piece| served.increment(piece.len() as u64))
                    .inspect_err(move |error| tracing::warn!(object, %error, "a download was cut short")),
            ))
        }
        Err(ObjectError::NotFound) => {
            tracing::error!(object, "a package's object is missing");
            Err(text(ROUTE, StatusCode::INTERNAL_SERVER_ERROR, "the package's bytes are missing\n"))
        }
        Err(error) => {
            tracing::warn!(object, %error, "cannot read a package");
            Err(busy())
        }
    }
}

fn describe(status: StatusCode, file: &PackageFile, tag: &str, length: u64, body: Body) -> Response {
    tracing::trace!(object = file.object, length, status = status.as_u16(), "download");
    meters::answered(ROUTE, status);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // What a link leads to never changes, but a link is for one fleet's eyes; nobody on the way may
    // compress it, since that would take the length away.
    headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("private, no-transform, max-age=86400, immutable"));
    set(headers, ETAG, tag);
    response
}

fn refusal(refused: LinkRefused) -> Response {
    let (status, why) = match refused {
        LinkRefused::Malformed => (StatusCode::NOT_FOUND, "this is no download link\n"),
        LinkRefused::Forged => (StatusCode::FORBIDDEN, "this download link was not made here\n"),
        LinkRefused::Expired => {
            (StatusCode::GONE, "this download link has expired; ask where you got it for a new one\n")
        }
    };
    text(ROUTE, status, why)
}

pub(crate) fn busy() -> Response {
    let mut response = text(ROUTE, StatusCode::SERVICE_UNAVAILABLE, "try again in a moment\n");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// Sets a header whose text comes from numbers, digests and ids. One that cannot be a header is left out.
pub(crate) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether one of the items of a header that is a list fits.
fn any_of(headers: &HeaderMap, name: HeaderName, fits: impl Fn(&str) -> bool) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| fits(item.trim()))
}

#[cfg(test)]
mod tests {
    use otaria_ports::events::NoEvents;
    use otaria_ports::store::Store;
    use otaria_ports::store::contract::world::World;
    use otaria_ports::store::memory::{Fault, MemoryStore};

    use super::*;

    #[tokio::test]
    async fn a_file_is_found_by_firmware_and_place_and_trouble_is_passed_on() {
        let memory = Arc::new(MemoryStore::new(Arc::new(NoEvents)));
        let firmware = World::new(&*memory).await.firmware;
        // As the binary holds it: without its type.
        let packages = StorePackages(Arc::clone(&memory) as Arc<dyn Store>);

        assert_eq!(packages.package_file(firmware.no, 0).await.unwrap().as_ref(), firmware.files.first());
        assert_eq!(packages.package_file(firmware.no, 200).await.unwrap(), None);
        assert_eq!(packages.package_file(FirmwareNo(firmware.no.0 + 1), 0).await.unwrap(), None);

        memory.fail_next(1, Fault::Before);
        let failed = packages.package_file(firmware.no, 0).await;
        assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
    }
}
