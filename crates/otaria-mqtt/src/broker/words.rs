//! What devices say on the broker: read, handed on, answered, and acknowledged when it is durable.
//!
//! Words of one device are taken one after the other; those of different devices side by side.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use otaria_core::door::{Downlink, Own, SessionSeq, Uplink};
use otaria_core::ids::{DeviceName, JobNo, ModuleName, ProductKey};
use otaria_core::task::{Report, ReportOrder, Said};
use otaria_ports::Unavailable;
use otaria_ports::inbox::NoBlock;
use rumqttc::{AsyncClient, Event, Packet, Publish, QoS, SubscribeFilter, SubscribeReasonCode};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::heard::{Known, Names};
use super::{BrokerConfig, BrokerPorts};
use crate::block::{Question, Refusal};
use crate::credentials::Credentials;
use crate::meters::{DropReason, ReportKind};
use crate::{notice, payload};

/// What devices publish, wherever product key and name stand.
const FILTERS: [&str; 4] = [
    "/ota/device/inform/+/+",
    "/ota/device/progress/+/+",
    "/sys/+/+/thing/ota/firmware/get",
    "/sys/+/+/thing/file/download",
];

/// Words taken side by side. A broker leaves at most its own limit unacknowledged (Mosquitto: 20, see
/// `max_inflight_messages`), which should not be less.
const HANDS: usize = 64;
const WAITING_EACH: usize = 4;

/// How often a word is offered to the engine before the connection is given up, so that the broker says it
/// again.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(400);

#[derive(Clone)]
pub(super) struct Ears {
    pub(super) credentials: Credentials,
    pub(super) ports: BrokerPorts,
}

/// One word, and the connection it came by.
type Word = (Publish, AsyncClient);

/// Listens for ever.
pub(super) async fn run(config: BrokerConfig, ears: Ears) {
    let failed = Arc::new(Notify::new());
    let mut hands = Vec::with_capacity(HANDS);
    // Dropped with this future: the hands end with it.
    let mut tasks = JoinSet::new();
    for _ in 0..HANDS {
        let (hand, words) = mpsc::channel(WAITING_EACH);
        hands.push(hand);
        tasks.spawn(take_all(ears.clone(), words, Arc::clone(&failed)));
    }
    let mut is_known = false;
    loop {
        tokio::select! {
            () = listen(&config, &hands, &mut is_known) => {}
            () = failed.notified() => warn!("words of devices were not taken; the broker is asked for them again"),
        }
        tokio::time::sleep(config.retry).await;
    }
}

/// Until the connection ends.
async fn listen(config: &BrokerConfig, hands: &[mpsc::Sender<Word>], is_known: &mut bool) {
    let mut options = config.options("up");
    // The broker keeps what devices say while nobody listens, and what was not acknowledged.
    options.set_clean_session(false).set_manual_acks(true);
    let (client, mut events) = AsyncClient::new(options, HANDS * WAITING_EACH * 2);
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                *is_known = false;
                let filters = FILTERS.map(|filter| SubscribeFilter::new(filter.to_owned(), QoS::AtLeastOnce));
                if client.try_subscribe_many(filters).is_err() {
                    return;
                }
            }
            Ok(Event::Incoming(Packet::SubAck(ack))) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    error!(
                        "the broker does not let this client read what devices say: look at its access rules"
                    );
                } else {
                    info!("devices at the broker are heard");
                }
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let hand = hands.get(place(&publish.topic, hands.len()));
                let Some(hand) = hand else { return };
                if hand.send((publish, client.clone())).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                if !std::mem::replace(is_known, true) {
                    warn!(%error, "the broker is not reached; devices are not heard");
                }
                return;
            }
        }
    }
}

/// Which hand takes the words of a topic's device.
fn place(topic: &str, hands: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    names_in(topic).hash(&mut hasher);
    usize::try_from(hasher.finish() % hands.max(1) as u64).unwrap_or(0)
}

/// Product key and device name of a topic that the filters let through.
fn names_in(topic: &str) -> Option<(&str, &str)> {
    let mut levels = topic.strip_prefix('/')?.split('/');
    let first = if levels.next()? == "sys" { levels.next() } else { levels.nth(2) };
    Some((first?, levels.next()?))
}

async fn take_all(ears: Ears, mut words: mpsc::Receiver<Word>, failed: Arc<Notify>) {
    while let Some((publish, client)) = words.recv().await {
        match ears.take(&publish).await {
            // Fails only when that connection is gone; then the word comes again.
            Ok(()) => drop(client.ack(&publish).await),
            Err(error) => {
                warn!(%error, "a word of a device was not taken");
                ears.dropped(DropReason::Unavailable);
                failed.notify_one();
            }
        }
    }
}

impl Ears {
    fn dropped(&self, reason: DropReason) {
        self.ports.pusher.meters.dropped.count(reason);
    }

    /// Takes one word; `Err` when it has to come again.
    async fn take(&self, publish: &Publish) -> Result<(), Unavailable> {
        let Some(names) = names_in(&publish.topic)
            .and_then(|(key, name)| Some((ProductKey::parse(key).ok()?, DeviceName::parse(name).ok()?)))
        else {
            self.dropped(DropReason::Odd);
            return Ok(());
        };
        let own = Own { product_key: names.0.as_str(), device_name: names.1.as_str() };
        let uplink = match own.publishes(&publish.topic) {
            Ok(uplink) => uplink,
            Err(bad) => {
                self.dropped(bad.into());
                return Ok(());
            }
        };
        let said = match uplink {
            Uplink::Inform => payload::inform(&publish.payload),
            Uplink::Progress => payload::progress(&publish.payload),
            Uplink::FirmwareGet => return self.fetch(&names, publish).await,
            Uplink::FileDownload => return self.download(&names, publish).await,
            Uplink::LegacyRequest | Uplink::Other => {
                self.dropped(DropReason::NoService);
                return Ok(());
            }
        };
        match said {
            Ok((module, said)) => self.report(&names, module, said).await,
            Err(bad) => {
                self.dropped(bad.into());
                Ok(())
            }
        }
    }

    /// The session that a word belongs to; begun now if need be. `None` for a device that may not speak.
    async fn known(&self, names: &Names, is_version: bool) -> Result<Option<Known>, Unavailable> {
        let (heard, now) = (&self.ports.pusher.heard, self.ports.clock.now());
        if let Some(known) = heard.word(names, is_version, now) {
            return Ok(Some(known));
        }
        let Some(found) = self.credentials.of(names.clone()).await?.filter(|found| found.enabled) else {
            self.dropped(DropReason::Foreign);
            return Ok(None);
        };
        let session = self.ports.presence.connect(found.device).await?.session;
        heard.enter(found.device, names.clone(), SessionSeq(session), now);
        // It may have been shut out in this very moment.
        Ok(heard.word(names, false, now))
    }

    async fn report(&self, names: &Names, module: ModuleName, said: Said) -> Result<(), Unavailable> {
        self.ports.pusher.meters.reports.count(match &said {
            Said::Version(_) => ReportKind::Version,
            Said::Progress { .. } => ReportKind::Progress,
            Said::Refused { .. } => ReportKind::Refused,
        });
        // As it is now: a notice may go out between two tries.
        let told = self.ports.pusher.heard.told(names, &module);
        let mut n = 0;
        loop {
            n += 1;
            match self.try_report(names, &module, told, &said).await {
                Err(_) if n < TRIES => tokio::time::sleep(PAUSE * n).await,
                other => return other,
            }
        }
    }

    async fn try_report(
        &self,
        names: &Names,
        module: &ModuleName,
        told: Option<JobNo>,
        said: &Said,
    ) -> Result<(), Unavailable> {
        let Some(known) = self.known(names, matches!(said, Said::Version(_))).await? else { return Ok(()) };
        let order = ReportOrder { session: known.session.0, n: known.n };
        let (module, said, at) = (module.clone(), said.clone(), self.ports.clock.now());
        self.ports.inbox.report(Report { device: known.device, module, order, at, told, said }).await
    }

    async fn fetch(&self, names: &Names, publish: &Publish) -> Result<(), Unavailable> {
        let request = match payload::request(&publish.payload) {
            Ok(request) => request,
            Err(bad) => {
                self.dropped(bad.into());
                return Ok(());
            }
        };
        let Some(known) = self.known(names, false).await? else { return Ok(()) };
        self.ports.pusher.meters.reports.count(ReportKind::Fetch);
        let fetched = self.ports.inbox.fetch(known.device, request.module, self.ports.clock.now()).await?;
        if let Some(fetched) = &fetched {
            self.ports.pusher.heard.tell(known.device, &fetched.offer.module, fetched.job);
        }
        let data = fetched.map(|fetched| notice::data(&fetched.offer));
        let reply = notice::get_reply(&request.id, data.as_deref());
        self.ports.pusher.answer(names, Downlink::GetReply, reply).await;
        Ok(())
    }

    async fn download(&self, names: &Names, publish: &Publish) -> Result<(), Unavailable> {
        let question = match Question::parse(&publish.payload) {
            Ok(question) => question,
            Err(bad) => {
                self.dropped(bad.into());
                return Ok(());
            }
        };
        let Some(known) = self.known(names, false).await? else { return Ok(()) };
        self.ports.pusher.meters.reports.count(ReportKind::Download);
        let frame = match question.asked {
            None => question.refuse(Refusal::Malformed),
            Some(asked) => match self.ports.inbox.block(known.device, asked, self.ports.clock.now()).await {
                Ok(Ok(block)) => question.answer(asked.offset, &block),
                Ok(Err(NoBlock::NotOffered)) => question.refuse(Refusal::NotOffered),
                Ok(Err(NoBlock::OutOfRange)) => question.refuse(Refusal::OutOfRange),
                Err(error) => {
                    warn!(%error, device.id = known.device.0, "a block was not read");
                    question.refuse(Refusal::Unavailable)
                }
            },
        };
        self.ports.pusher.answer(names, Downlink::DownloadReply, frame).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_the_filters_have_them() {
        assert_eq!(names_in("/ota/device/inform/pk/dn"), Some(("pk", "dn")));
        assert_eq!(names_in("/ota/device/progress/pk/dn"), Some(("pk", "dn")));
        assert_eq!(names_in("/sys/pk/dn/thing/ota/firmware/get"), Some(("pk", "dn")));
        assert_eq!(names_in("/sys/pk/dn/thing/file/download"), Some(("pk", "dn")));
        assert_eq!(names_in("/ota/device"), None);
        assert_eq!(place("/sys/pk/dn/a", 64), place("/ota/device/inform/pk/dn", 64), "one hand for a device");
    }
}
