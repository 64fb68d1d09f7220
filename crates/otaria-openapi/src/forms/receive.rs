//! Takes a file that comes with a form.
//!
//! Never keeps a file in memory: pieces go on to the engine's sink as they come, and few are taken from the
//! socket before the last ones are gone.
//!
//! Invariant: a file that is refused, or whose connection breaks, leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::{Stream, StreamExt, stream};
use multer::{Field, Multipart};
use otaria_core::rules::{Code, UploadParams};
use otaria_engine::CommandError;
use otaria_ports::store::{StoredUpload, UploadKind};
use tokio::time::timeout;

use super::{FileKey, FormRefused, SignedForm};
use crate::api::{Api, host};
use crate::envelope::{Fields, request_id};
use crate::meters::{self, Route};

/// Bytes of all fields before the file.
const FIELDS_BYTES_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 32;
/// Bytes that wait between the socket and the sink at most; a part that has no end within them is refused.
const WAITING_BYTES_MAX: usize = 256 * 1024;
/// Until the next piece.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is still read of a refused file, and how long: a client that is cut off while it sends does not
/// read why.
const DRAINED_BYTES_MAX: usize = 64 * 1024 * 1024;
const DRAIN: Duration = Duration::from_secs(10);

/// Why a file was not taken, in the words of object stores.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MalformedPOSTRequest", message)
    }
}

/// What was asked for beside the file.
type TextFields = BTreeMap<String, String>;

/// Answers a form with its file.
pub(crate) async fn receive(api: &Api, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let boundary = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let boundary = boundary.and_then(|kind| multer::parse_boundary(kind).ok());
    let (pieces, sips) = sips(body);
    let taken = match (boundary, api.uploads.try_acquire()) {
        (None, _) => Err(Refused::malformed("the body must be multipart/form-data with a boundary")),
        (_, Err(_)) => {
            let message = "too many uploads are under way; send the file again";
            Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message))
        }
        (Some(boundary), Ok(_place)) => {
            let mut form = Multipart::new(pieces, boundary);
            let taken = take(api, &mut form, &sips).await;
            if taken.is_err() {
                drain(&mut form, &sips).await;
            }
            taken
        }
    };
    let response = match taken {
        Ok((status, upload)) => done(status, &upload),
        Err(refused) => {
            let answer = Fields::new()
                .with("Code", refused.code)
                .with("Message", refused.message)
                .with("RequestId", request_id(&*api.commands.deps().ids))
                .with("HostId", host(&head.headers));
            xml(refused.status, &answer.xml("Error"))
        }
    };
    meters::answered(Route::Upload, response.status());
    response
}

/// Reads the fields, opens the form, and hands the file on.
async fn take(
    api: &Api,
    form: &mut Multipart<'static>,
    sips: &Sips,
) -> Result<(StatusCode, StoredUpload), Refused> {
    let mut fields = TextFields::new();
    let mut room = FIELDS_BYTES_MAX;
    for _ in 0..FIELDS_MAX {
        let field = patient(form.next_field(), sips).await?;
        let Some(field) = field else { return Err(Refused::malformed("there is no file")) };
        let name = field.name().unwrap_or_default().to_ascii_lowercase();
        if name == "file" {
            return take_file(api, &fields, field, sips).await;
        }
        let text = text(field, &mut room, sips).await?;
        fields.insert(name, text);
    }
    Err(Refused::malformed("there are too many fields before the file"))
}

async fn take_file(
    api: &Api,
    fields: &TextFields,
    mut file: Field<'static>,
    sips: &Sips,
) -> Result<(StatusCode, StoredUpload), Refused> {
    let needed = |name: &str| {
        let text = fields.get(&name.to_ascii_lowercase()).filter(|text| !text.is_empty());
        text.cloned().ok_or_else(|| Refused::malformed(format!("{name} is missing, or behind the file")))
    };
    let signed = SignedForm { policy: needed("policy")?, signature: needed("Signature")? };
    let (key, access_key) = (needed("key")?, needed("OSSAccessKeyId")?);
    let now = api.clock.now();
    api.forms.key.open(&signed, (&key, &access_key), now).map_err(forbidden)?;
    let file_key = FileKey::parse(&key).ok_or_else(|| forbidden(FormRefused::Forged))?;
    let (caller, _) = api.commands.signing_key(&access_key).await.map_err(refused)?;
    let status = match fields.get("success_action_status").map(String::as_str) {
        Some("200") => StatusCode::OK,
        Some("201") => StatusCode::CREATED,
        _ => StatusCode::NO_CONTENT,
    };

    let params = UploadParams {
        file_suffix: Some(file_key.suffix).filter(|_| file_key.kind == UploadKind::Package),
        ..UploadParams::default()
    };
    let sink = api.commands.begin_upload_to(&caller, file_key.kind, &params, &file_key.name).await;
    let mut sink = sink.map_err(refused)?;
    while let Some(piece) = patient(file.chunk(), sips).await? {
        sink.write(piece).await.map_err(refused)?;
    }
    let upload = sink.finish(api.clock.now()).await.map_err(refused)?;
    Ok((status, upload))
}

/// The text of a field, within the room that all of them share.
async fn text(mut field: Field<'static>, room: &mut usize, sips: &Sips) -> Result<String, Refused> {
    let mut text = Vec::new();
    while let Some(piece) = patient(field.chunk(), sips).await? {
        *room = room
            .checked_sub(piece.len())
            .ok_or_else(|| Refused::malformed("the fields before the file are too long"))?;
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).map_err(|_| Refused::malformed("a field before the file is no text"))
}

/// Waits for the next part of a form, but not for ever.
async fn patient<T>(
    next: impl Future<Output = multer::Result<Option<T>>>,
    sips: &Sips,
) -> Result<Option<T>, Refused> {
    let next = timeout(PATIENCE, next).await;
    sips.taken.store(0, Ordering::Relaxed);
    match next {
        Ok(Ok(part)) => Ok(part),
        Ok(Err(error)) => Err(Refused::malformed(format!("the form cannot be read: {error}"))),
        Err(_) => Err(Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "RequestTimeout",
            "nothing came for 60 seconds; the upload is given up",
        )),
    }
}

/// Reads on for a while, so that the client gets to read the answer.
async fn drain(form: &mut Multipart<'static>, sips: &Sips) {
    sips.taken.store(0, Ordering::Relaxed);
    sips.max.store(DRAINED_BYTES_MAX, Ordering::Relaxed);
    let rest = async {
        while let Ok(Some(mut field)) = form.next_field().await {
            while let Ok(Some(_)) = field.chunk().await {}
        }
    };
    // Whoever is not through by then is cut.
    let _ = timeout(DRAIN, rest).await;
}

/// How much of a body was taken since somebody asked on, and how much may be.
struct Sips {
    taken: AtomicUsize,
    max: AtomicUsize,
}

/// The body in pieces, one at a time: the reader of forms takes whatever is ready, and would keep all of a
/// fast peer's file in memory.
fn sips(body: Body) -> (impl Stream<Item = Result<Bytes, multer::Error>> + Send + 'static, Arc<Sips>) {
    let sips = Arc::new(Sips { taken: AtomicUsize::new(0), max: AtomicUsize::new(WAITING_BYTES_MAX) });
    let counter = Arc::clone(&sips);
    let mut pieces = body.into_data_stream();
    let mut rests = false;
    let stream = stream::poll_fn(move |context| {
        if std::mem::take(&mut rests) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let max = counter.max.load(Ordering::Relaxed);
        if counter.taken.load(Ordering::Relaxed) > max {
            return Poll::Ready(Some(Err(multer::Error::StreamSizeExceeded { limit: max as u64 })));
        }
        let piece = pieces.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(piece))) = &piece {
            rests = true;
            counter.taken.fetch_add(piece.len(), Ordering::Relaxed);
        }
        piece.map_err(|error| multer::Error::StreamReadFailed(Box::new(error)))
    });
    (stream, sips)
}

fn forbidden(why: FormRefused) -> Refused {
    let code = if why == FormRefused::Forged { "SignatureDoesNotMatch" } else { "AccessDenied" };
    Refused::new(StatusCode::FORBIDDEN, code, why.to_string())
}

fn refused(error: CommandError) -> Refused {
    match error {
        CommandError::Refused(refusal) => {
            Refused::new(StatusCode::BAD_REQUEST, "InvalidArgument", refusal.rule)
        }
        CommandError::NotAllowed { code: Code::IllegalRequest, message } => {
            Refused::new(StatusCode::CONFLICT, "FileAlreadyExists", message)
        }
        CommandError::NotAllowed { message, .. } => {
            Refused::new(StatusCode::FORBIDDEN, "AccessDenied", message)
        }
        CommandError::Denied { .. } | CommandError::NotServed(_) => {
            Refused::new(StatusCode::FORBIDDEN, "AccessDenied", error.to_string())
        }
        CommandError::Unavailable(cause) => {
            tracing::warn!(error = &*cause as &dyn std::error::Error, "upload not taken: unavailable");
            let message = "temporarily unavailable; send the file again";
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
        }
        CommandError::Internal(cause) => {
            tracing::error!(error = &*cause as &dyn std::error::Error, "upload not taken: internal error");
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "internal error")
        }
    }
}

fn done(status: StatusCode, upload: &StoredUpload) -> Response {
    if status == StatusCode::CREATED {
        let answer = Fields::new()
            .with("Location", upload.url.as_str())
            .with("Key", upload.object.as_str())
            .with("ETag", upload.md5.to_ascii_uppercase());
        return xml(status, &answer.xml("PostResponse"));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn xml(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    let kind = axum::http::HeaderValue::from_static("application/xml");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
