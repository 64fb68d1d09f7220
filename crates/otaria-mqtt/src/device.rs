//! A connected device's own task: reads its packets until it leaves.
//!
//! One report at a time: while the engine has not taken a report, nothing more is read from its device.

use std::sync::Arc;

use otaria_core::door::Downlinks;
use otaria_core::door::subscription::Delivery;

use crate::gate::Gate;
use crate::intake::{Intake, ReadSome};
use crate::meters::{CloseReason, DropReason};
use crate::session::Session;
use crate::uplink;
use crate::wire::{Inbound, Malformed, PublishAnswer, SubscribeAnswer, Wire};

impl From<Malformed> for CloseReason {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Serves a device until it leaves or is closed; returns what ended it, seen from here.
pub(crate) async fn serve(gate: &Gate, session: &Session, mut intake: Intake) -> CloseReason {
    let mut reports = 0;
    loop {
        while let Some(inbound) = match next(gate, session, &mut intake) {
            Ok(inbound) => inbound,
            Err(reason) => return reason,
        } {
            let Inbound::Publish(publication) = inbound else {
                match take(gate, session, inbound) {
                    Ok(()) => continue,
                    Err(reason) => return reason,
                }
            };
            // Boxed, since this is rare and would make every idle task as large as a busy one.
            if let Err(reason) = Box::pin(uplink::take(gate, session, publication, &mut reports)).await {
                return reason;
            }
        }
        match intake.read(&session.peer.link) {
            // A peer that never stops talking must not keep the others waiting.
            Ok(ReadSome::Some) => tokio::task::coop::consume_budget().await,
            Ok(ReadSome::Nothing) => {
                if session.peer.link.readable().await.is_err() {
                    return CloseReason::Io;
                }
            }
            Ok(ReadSome::End) => return CloseReason::Peer,
            Err(_) => return CloseReason::Io,
        }
    }
}

fn next(gate: &Gate, session: &Session, intake: &mut Intake) -> Result<Option<Inbound>, CloseReason> {
    let Some(packet) = intake.next(gate.config.max_packet_bytes)? else { return Ok(None) };
    session.peer.heard(gate.registry.tick());
    Ok(Some(session.peer.wire.decode(packet)?))
}

/// Takes everything but a PUBLISH.
fn take(gate: &Gate, session: &Session, inbound: Inbound) -> Result<(), CloseReason> {
    let wire = session.peer.wire;
    let answer = match inbound {
        Inbound::Publish(_) | Inbound::Acknowledged => return Ok(()),
        Inbound::OddPublish { pkid } => {
            gate.meters.dropped.count(DropReason::Odd);
            return pkid
                .map_or(Ok(()), |pkid| uplink::acknowledge(session, pkid, PublishAnswer::NotAuthorized));
        }
        Inbound::Subscribe { pkid, filters } => {
            let answers = filters.iter().map(|(filter, wish)| subscribe(session, filter, *wish));
            wire.suback(pkid, &answers.collect::<Vec<_>>())
        }
        Inbound::OddSubscribe { pkid, filters } => {
            wire.suback(pkid, &vec![SubscribeAnswer::Refused; filters])
        }
        Inbound::Unsubscribe { pkid, filters } => {
            let own = session.own();
            let taken = filters.iter().filter_map(|filter| own.subscribes(filter).ok());
            session.unsubscribe(taken.fold(Downlinks::NONE, |all, these| all | these));
            wire.unsuback(pkid, filters.len())
        }
        Inbound::Ping => Wire::pong().to_vec(),
        Inbound::Disconnect => return Err(CloseReason::Disconnect),
    };
    session.peer.link.send(&answer).map_err(|_| CloseReason::TooSlow)
}

fn subscribe(session: &Session, filter: &str, wish: Delivery) -> SubscribeAnswer {
    match session.own().subscribes(filter) {
        Ok(downlinks) => {
            session.subscribe(downlinks, wish);
            SubscribeAnswer::Granted(wish)
        }
        Err(_) => SubscribeAnswer::Refused,
    }
}

/// Takes a device that has left out of everybody's sight.
pub(crate) async fn leave(gate: &Gate, session: &Arc<Session>) {
    session.peer.link.close();
    gate.registry.leave(session);
    gate.forget(session.device, session.seq).await;
}
