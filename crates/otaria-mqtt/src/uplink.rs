//! What a device publishes: checked, read, handed on, and answered.

use std::time::Duration;

use bytes::Bytes;
use otaria_core::door::{BadTopic, Downlink, Uplink};
use otaria_core::ids::ModuleName;
use otaria_core::task::{Report, ReportOrder, Said};
use otaria_ports::inbox::NoBlock;
use serde_json::json;
use tracing::warn;

use crate::block::{Question, Refusal};
use crate::gate::Gate;
use crate::meters::{CloseReason, DropReason, ReportKind};
use crate::notice;
use crate::payload::{self, BadPayload};
use crate::session::Session;
use crate::wire::{Publication, PublishAnswer};

/// How often a report is offered to the engine before its connection is given up, some 20 s in all. The
/// device's QoS 1 then makes it say it again.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(400);

impl From<BadPayload> for DropReason {
    fn from(bad: BadPayload) -> Self {
        match bad {
            BadPayload::Json => Self::BadJson,
            BadPayload::Field => Self::BadField,
        }
    }
}

impl From<BadTopic> for DropReason {
    fn from(bad: BadTopic) -> Self {
        match bad {
            BadTopic::TooLong => Self::TooLong,
            BadTopic::NotAscii => Self::NotAscii,
            BadTopic::Foreign => Self::Foreign,
        }
    }
}

/// Why a publish was not handed on.
enum Trouble {
    Dropped(DropReason),
    /// The engine did not take it; the connection ends without a PUBACK.
    Unavailable,
}

impl<T: Into<DropReason>> From<T> for Trouble {
    fn from(reason: T) -> Self {
        Self::Dropped(reason.into())
    }
}

/// Takes one PUBLISH of a device. `n` counts its reports. Returns why the connection ends, if it does.
pub(crate) async fn take(
    gate: &Gate,
    session: &Session,
    publication: Publication,
    n: &mut u32,
) -> Result<(), CloseReason> {
    let answer = match hand_on(gate, session, &publication, n).await {
        Ok(()) => PublishAnswer::Taken,
        Err(Trouble::Dropped(reason)) => {
            gate.meters.dropped.count(reason);
            let foreign = matches!(reason, DropReason::Foreign | DropReason::NotAscii | DropReason::TooLong);
            if foreign { PublishAnswer::NotAuthorized } else { PublishAnswer::Taken }
        }
        Err(Trouble::Unavailable) => {
            gate.meters.dropped.count(DropReason::Unavailable);
            return Err(CloseReason::Unavailable);
        }
    };
    match publication.pkid {
        Some(pkid) => acknowledge(session, pkid, answer),
        None => Ok(()),
    }
}

/// PUBACK.
pub(crate) fn acknowledge(session: &Session, pkid: u16, answer: PublishAnswer) -> Result<(), CloseReason> {
    let packet = session.peer.wire.puback(pkid, answer);
    session.peer.link.send(&packet).map_err(|_| CloseReason::TooSlow)
}

async fn hand_on(
    gate: &Gate,
    session: &Session,
    publication: &Publication,
    n: &mut u32,
) -> Result<(), Trouble> {
    let payload = &publication.payload;
    match session.own().publishes(&publication.topic)? {
        Uplink::Inform => {
            let (module, said) = payload::inform(payload)?;
            report(gate, session, module, said, n).await
        }
        Uplink::Progress => {
            let (module, said) = payload::progress(payload)?;
            report(gate, session, module, said, n).await
        }
        Uplink::FirmwareGet => fetch(gate, session, payload).await,
        Uplink::FileDownload => download(gate, session, payload).await,
        Uplink::LegacyRequest | Uplink::Other => Err(DropReason::NoService.into()),
    }
}

async fn report(
    gate: &Gate,
    session: &Session,
    module: ModuleName,
    said: Said,
    n: &mut u32,
) -> Result<(), Trouble> {
    gate.meters.reports.count(match &said {
        Said::Version(_) => ReportKind::Version,
        Said::Progress { .. } => ReportKind::Progress,
        Said::Refused { .. } => ReportKind::Refused,
    });
    *n = n.saturating_add(1);
    let order = ReportOrder { session: session.seq.0, n: *n };
    let told = session.told(&module);
    let report = Report { device: session.device, module, order, at: gate.clock.now(), told, said };
    for attempt in 1..=TRIES {
        match gate.inbox.report(report.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if attempt == TRIES => {
                warn!(%error, device.id = session.device.0, "a report was not taken; its connection is closed");
            }
            Err(_) => {
                // We do not listen meanwhile, so its silence is ours.
                session.peer.heard(gate.registry.tick());
                tokio::time::sleep(PAUSE * attempt).await;
            }
        }
    }
    Err(Trouble::Unavailable)
}

async fn fetch(gate: &Gate, session: &Session, payload: &[u8]) -> Result<(), Trouble> {
    let request = payload::request(payload)?;
    // The engine takes an answered question for an offer, so an answer must be possible.
    if !session.is_subscribed(Downlink::GetReply) {
        return Err(DropReason::Unsubscribed.into());
    }
    gate.meters.reports.count(ReportKind::Fetch);
    let fetched = gate.inbox.fetch(session.device, request.module, gate.clock.now()).await;
    let reply = match fetched {
        Ok(fetched) => {
            if let Some(fetched) = &fetched {
                session.tell(&fetched.offer.module, fetched.job);
            }
            let data = fetched.map(|fetched| notice::data(&fetched.offer));
            notice::get_reply(&request.id, data.as_deref())
        }
        Err(error) => {
            warn!(%error, device.id = session.device.0, "a device's question was not answered");
            failure(&request.id, 500)
        }
    };
    send_reply(session, Downlink::GetReply, reply)
}

/// A device asks for a block of its package. The next one is read when this one is on its way, so a device
/// has at most one block waiting here.
async fn download(gate: &Gate, session: &Session, payload: &[u8]) -> Result<(), Trouble> {
    let question = Question::parse(payload)?;
    if !session.is_subscribed(Downlink::DownloadReply) {
        return Err(DropReason::Unsubscribed.into());
    }
    gate.meters.reports.count(ReportKind::Download);
    let frame = match question.asked {
        None => question.refuse(Refusal::Malformed),
        Some(asked) => match gate.inbox.block(session.device, asked, gate.clock.now()).await {
            Ok(Ok(block)) => question.answer(asked.offset, &block),
            Ok(Err(NoBlock::NotOffered)) => question.refuse(Refusal::NotOffered),
            Ok(Err(NoBlock::OutOfRange)) => question.refuse(Refusal::OutOfRange),
            Err(error) => {
                warn!(%error, device.id = session.device.0, "a block was not read");
                question.refuse(Refusal::Unavailable)
            }
        },
    };
    // We do not listen meanwhile, so its silence is ours.
    session.hand_over(Downlink::DownloadReply, frame, || session.peer.heard(gate.registry.tick())).await;
    Ok(())
}

fn failure(id: &serde_json::Value, code: u16) -> Bytes {
    json!({"id": id, "code": code}).to_string().into()
}

/// An answer that finds no room has ended the connection already; its task sees that by itself.
fn send_reply(session: &Session, downlink: Downlink, reply: Bytes) -> Result<(), Trouble> {
    let _ = session.reply(downlink, reply);
    Ok(())
}
