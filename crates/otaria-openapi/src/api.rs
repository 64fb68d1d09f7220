//! The way of a call: read, know who sent it, give one command, answer.
//!
//! Holds no rule about jobs or devices: those are the commands'. What stands here is the gate: what may come
//! in, from whom, how often, and only once.
//!
//! Invariant: a nonce is used up only by a request whose signature is right, and before its action runs.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use otaria_core::link::LinkKey;
use otaria_core::rules::{Code, Refusal};
use otaria_engine::command::Caller;
use otaria_engine::{CommandError, Commands};
use otaria_ports::clock::Clock;
use otaria_ports::nonces::Nonces;
use otaria_ports::quotas::Quotas;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::actions::{self, Action, Call};
use crate::envelope::{Envelope, Fault, Fields, Format, request_id};
use crate::forms::Forms;
use crate::hex::hex;
use crate::meters::{self, Outcome};
use crate::params::{Params, pairs};
use crate::sign;

/// The only version that there is.
const VERSION: &str = "2018-01-20";
/// Bytes of a body at most: 10,000 device names with nicknames of ordinary length.
const BODY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// KiB of bodies in memory at once, of all calls together.
const BODIES_KIB_MAX: usize = 32 * 1024;
/// Until a body is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls under way at once.
const IN_FLIGHT_MAX: usize = 256;
/// Files under way at once.
const UPLOADS_MAX: usize = 128;

/// What the API needs beside what the face has.
pub struct ApiParts {
    /// The actions.
    pub commands: Commands,
    /// Remembers nonces, also over a restart.
    pub nonces: Arc<dyn Nonces>,
    /// How often an account may call.
    pub quotas: Arc<dyn Quotas>,
    /// When set, calls have to name it as `IotInstanceId`.
    pub instance_id: Option<String>,
}

/// The API, compatible with the cloud's.
pub(crate) struct Api {
    pub(crate) commands: Commands,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) forms: Forms,
    nonces: Arc<dyn Nonces>,
    quotas: Arc<dyn Quotas>,
    instance_id: Option<String>,
    pub(crate) uploads: Semaphore,
    in_flight: Semaphore,
    bodies: Semaphore,
}

/// A request whose body is read.
struct Received<'a> {
    /// What its body may take of memory.
    _room: SemaphorePermit<'a>,
    head: Parts,
    query: Vec<(String, String)>,
    params: Params,
    body_sha256: String,
}

impl Api {
    pub(crate) fn new(parts: ApiParts, clock: Arc<dyn Clock>, links: &LinkKey) -> Self {
        let ApiParts { commands, nonces, quotas, instance_id } = parts;
        Self {
            forms: Forms::new(links, commands.clone()),
            commands,
            clock,
            nonces,
            quotas,
            instance_id,
            uploads: Semaphore::new(UPLOADS_MAX),
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            bodies: Semaphore::new(BODIES_KIB_MAX),
        }
    }

    /// Answers a call.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let query = pairs(head.uri.query().unwrap_or_default().as_bytes());
        let format = query.iter().find(|(name, _)| name == "Format").map(|(_, value)| value.as_str());
        let mut envelope = Envelope {
            format: Format::read(format),
            action: "Unknown",
            request_id: request_id(&*self.commands.deps().ids),
            host: host(&head.headers),
        };
        let answer = self.serve(head, query, body, &mut envelope).await;
        meters::called(envelope.action, Outcome::of(answer.as_ref().map(drop)));
        match answer {
            Ok(answer) => envelope.success(answer),
            Err(fault) => envelope.failure(&fault),
        }
    }

    async fn serve(
        &self,
        head: Parts,
        query: Vec<(String, String)>,
        body: Body,
        envelope: &mut Envelope,
    ) -> Result<Fields, Fault> {
        if !matches!(head.method, Method::GET | Method::POST) {
            let message = "This http method is not supported; use GET or POST.";
            return Err(Fault::code(Code::UnsupportedHttpMethod, message));
        }
        let Ok(_place) = self.in_flight.try_acquire() else {
            return Err(Fault::busy("too many calls are under way; repeat the call"));
        };
        let received = self.receive(head, query, body).await?;
        envelope.format = Format::read(received.params.text("Format"));
        let action = received.action()?;
        envelope.action = action.name;

        let now = self.clock.now();
        let caller = self.authenticate(&received).await?;
        self.take_quota(&caller, action).await?;
        self.check_instance(&received.params)?;
        let Received { params, _room, .. } = received;
        let call = Call { api: self, caller, now, params };
        Ok((action.run)(&call).await?)
    }

    /// Reads the body, as far as one may be, and merges its parameters with those of the query.
    async fn receive(
        &self,
        head: Parts,
        query: Vec<(String, String)>,
        body: Body,
    ) -> Result<Received<'_>, Fault> {
        use axum::body::HttpBody;

        let announced = body.size_hint().upper().unwrap_or(BODY_BYTES_MAX as u64);
        if announced > BODY_BYTES_MAX as u64 {
            return Err(too_large());
        }
        let kib = u32::try_from(announced.div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(room) = self.bodies.try_acquire_many(kib) else {
            return Err(Fault::busy("too many large calls are under way; repeat the call"));
        };
        let body = match timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => return Err(too_large()),
            Err(_) => return Err(Fault::busy("the body did not arrive in time; repeat the call")),
        };
        let params = told(&head, &query, &body);
        Ok(Received { _room: room, head, query, params, body_sha256: hex(&Sha256::digest(&body)) })
    }

    async fn authenticate(&self, received: &Received<'_>) -> Result<Caller, Fault> {
        let claim = sign::read(&sign::Request {
            head: &received.head,
            query: &received.query,
            params: &received.params,
            body_sha256: &received.body_sha256,
        })?;
        // Read once more: the body may have taken its time.
        let now = self.clock.now();
        let keep_until = claim.check_time(now)?;
        let (caller, secret) = self.commands.signing_key(&claim.key).await?;
        claim.verify(&secret)?;
        let used = self.nonces.use_once(caller.key.as_str(), &claim.nonce, now, keep_until).await;
        if used.map_err(CommandError::from)? {
            return Ok(caller);
        }
        Err(Fault::code(Code::SignatureNonceUsed, "Specified signature nonce was used already."))
    }

    async fn take_quota(&self, caller: &Caller, action: &Action) -> Result<(), Fault> {
        match self.quotas.take(caller.account, action.name).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(Fault::too_many(refused.retry_after)),
            Err(error) => {
                // A quota protects the service; it does not take it down.
                tracing::debug!(%error, "quota not counted");
                Ok(())
            }
        }
    }

    fn check_instance(&self, params: &Params) -> Result<(), Fault> {
        let Some(ours) = &self.instance_id else { return Ok(()) };
        if params.text("IotInstanceId") == Some(ours) {
            return Ok(());
        }
        let message = "IotInstanceId is absent or not the id of this server's instance.";
        Err(Fault::code(Code::InstanceNotFound, message))
    }
}

impl Received<'_> {
    fn action(&self) -> Result<&'static Action, Fault> {
        action(&self.head, &self.params)
    }
}

/// The parameters of a request: its query, and its body where that is a form.
pub(crate) fn told(head: &Parts, query: &[(String, String)], body: &Bytes) -> Params {
    let form = if is_form(&head.headers) { body.clone() } else { Bytes::new() };
    Params::merge(query, &form)
}

/// What is to be done: headers name it in V3, parameters in RPC v1.
pub(crate) fn action(head: &Parts, params: &Params) -> Result<&'static Action, Fault> {
    let is_v3 = sign::is_v3(head);
    let named = |header: &str, parameter: &str| {
        let by_header = || head.headers.get(header)?.to_str().ok().map(str::trim);
        let by_parameter = || params.text(parameter);
        if is_v3 { by_header() } else { by_parameter() }
    };
    let missing = |code, parameter: &str| Fault::code(code, Refusal::missing(parameter, "").rule);
    let name = named("x-acs-action", "Action").ok_or_else(|| missing(Code::MissingAction, "Action"))?;
    let version =
        named("x-acs-version", "Version").ok_or_else(|| missing(Code::MissingVersion, "Version"))?;
    let action = actions::find(name).filter(|_| version == VERSION);
    action.ok_or_else(Fault::unknown_action)
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The host that was addressed, as the client put it.
pub(crate) fn host(headers: &HeaderMap) -> String {
    headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned()
}

fn too_large() -> Fault {
    let rule = format!("must have at most {BODY_BYTES_MAX} bytes");
    Refusal::invalid(Code::InvalidParameter, "Body", rule).into()
}
