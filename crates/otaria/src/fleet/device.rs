//! One simulated device: it connects, stays, does what notices ask for, and connects again when it must.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::Stream;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeFilter,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::blocks::{Answers, Blocks};
use super::download::Downloads;
use super::draw::draw_upto;
use super::link::{Dialer, Link};
use super::login::{Kit, Login};
use super::notice::{Notice, Source};
use super::recorder::{Recorder, count_up};
use super::session::{PACKET_MAX, Session};
use super::update::{Say, update};
use super::{Identity, Temper};

/// Seconds; a ping goes out at half of it, so that a lost one does not matter.
pub(super) const KEEP_ALIVE: u16 = 1_200;

/// How long a connection may take to come about, CONNACK included.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

const BACKOFF_MS_MIN: u64 = 500;
const BACKOFF_MS_MAX: u64 = 30_000;

/// What all devices of a fleet share.
pub(crate) struct Site {
    pub(crate) product_key: String,
    /// At least one.
    pub(crate) mqtt: Vec<String>,
    pub(crate) tls: bool,
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) downloads: Downloads,
    pub(crate) recorder: Arc<Recorder>,
    /// Connections that may come about at the same time.
    pub(crate) doorstep: Semaphore,
    /// The kit that all devices have; each has its own without one.
    pub(crate) kit: Option<Kit>,
    /// Whether devices subscribe to their topics.
    pub(crate) subscribe: bool,
    /// Most that a device thinks before it begins an update, in milliseconds.
    pub(crate) work_ms: u64,
    pub(crate) seed: u64,
}

pub(crate) struct Device {
    pub(super) site: Arc<Site>,
    pub(super) place: usize,
    identity: Identity,
    kit: Kit,
    version: String,
    /// The version at which it failed last, if it is flaky.
    failed_at: String,
    packet_id: u16,
    /// How often a gateway failed it.
    turns: usize,
    draws: u64,
    /// The update that it is at, which outlives a connection.
    pub(super) work: Option<Pin<Box<dyn Stream<Item = Say> + Send>>>,
    /// Where the blocks go that it asked for.
    answers: Option<Answers>,
}

impl Device {
    pub(crate) fn new(site: Arc<Site>, place: usize, identity: Identity, version: String) -> Self {
        let kit = site.kit.unwrap_or_else(|| Kit::of(place));
        Self {
            site,
            place,
            identity,
            kit,
            version,
            failed_at: String::new(),
            packet_id: 0,
            turns: 0,
            draws: 0,
            work: None,
            answers: None,
        }
    }

    /// Lives until it is dropped. `wait` spreads the first connections of a fleet.
    pub(crate) async fn live(mut self, wait: Duration) {
        sleep(wait).await;
        let mut backoff_ms = BACKOFF_MS_MIN;
        loop {
            match self.connect().await {
                Ok(link) => {
                    backoff_ms = BACKOFF_MS_MIN;
                    let recorder = Arc::clone(&self.site.recorder);
                    recorder.connected(self.place);
                    let why = Session::new(&mut self, link).run().await;
                    recorder.lost(self.place, &why);
                }
                Err(why) => {
                    self.trouble(|| format!("cannot connect: {why:#}"));
                }
            }
            self.turns += 1;
            // Between half of it and all of it, so that a fleet does not come back in step.
            let pause_ms = backoff_ms / 2 + self.draw(backoff_ms / 2);
            sleep(Duration::from_millis(pause_ms)).await;
            backoff_ms = (backoff_ms * 2).min(BACKOFF_MS_MAX);
        }
    }

    async fn connect(&mut self) -> anyhow::Result<Link> {
        // The semaphore is never closed.
        let site = Arc::clone(&self.site);
        let _turn = site.doorstep.acquire().await;
        timeout(CONNECT_PATIENCE, self.knock()).await?
    }

    async fn knock(&mut self) -> anyhow::Result<Link> {
        let site = &self.site;
        let login =
            Login::new(self.kit, &site.product_key, &self.identity.name, &self.identity.secret, site.tls);
        let mut connect = Connect::new(login.client_id);
        connect.keep_alive = KEEP_ALIVE;
        connect.set_login(login.user_name, login.password);
        let mut bytes = BytesMut::new();
        Packet::Connect(connect).write(&mut bytes, PACKET_MAX)?;

        let gateway = &site.mqtt[(self.place + self.turns) % site.mqtt.len()];
        let mut link = site.dialer.dial(site.tls, gateway).await?;
        link.write_all(&bytes).await?;
        link.flush().await?;

        // CONNACK is four bytes; what follows belongs to the session.
        let mut head = [0; 4];
        link.read_exact(&mut head).await?;
        match Packet::read(&mut BytesMut::from(&head[..]), PACKET_MAX)? {
            Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, .. }) => Ok(link),
            Packet::ConnAck(refusal) => {
                count_up(&site.recorder.totals.refused);
                anyhow::bail!("refused with CONNACK {:?}", refusal.code)
            }
            other => anyhow::bail!("answered CONNECT with {other:?}"),
        }
    }

    /// What the device says first on each connection.
    pub(super) fn greeting(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        if self.site.subscribe {
            let (product, name) = (&self.site.product_key, &self.identity.name);
            let filters = [
                format!("/ota/device/upgrade/{product}/{name}"),
                format!("/sys/{product}/{name}/thing/file/download_reply"),
            ];
            let filters = filters.map(|filter| SubscribeFilter::new(filter, QoS::AtLeastOnce));
            let mut subscribe = Subscribe::new_many(filters);
            subscribe.pkid = self.next_id();
            packets.push(Packet::Subscribe(subscribe));
        }
        let version = self.version.clone();
        packets.push(self.packet(Say::Inform { version }));
        packets
    }

    fn next_id(&mut self) -> u16 {
        self.packet_id = self.packet_id.checked_add(1).unwrap_or(1);
        self.packet_id
    }

    /// A message of the device as the packet that carries it.
    pub(super) fn packet(&mut self, say: Say) -> Packet {
        let names = format!("{}/{}", self.site.product_key, self.identity.name);
        let (topic, params, qos) = match say {
            Say::Inform { version } => {
                let params = serde_json::json!({ "version": version }).to_string();
                self.site.recorder.informed(self.place, &version);
                self.version = version;
                let qos = if self.kit == Kit::C { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                (format!("/ota/device/inform/{names}"), params, qos)
            }
            Say::Progress { step, text } => {
                let params = serde_json::json!({ "step": step.to_string(), "desc": text }).to_string();
                self.site.recorder.progressed(self.place, step);
                (format!("/ota/device/progress/{names}"), params, QoS::AtMostOnce)
            }
            Say::Ask(ask) => {
                // The kit in C writes a comma too many, and servers have to bear it.
                let comma = if self.kit == Kit::C { "," } else { "" };
                let params = format!(
                    r#"{{"fileInfo":{{"streamId":{},"fileId":{}{comma}}},"fileBlock":{{"size":{},"offset":{}}}}}"#,
                    ask.stream.stream_id, ask.stream.file_id, ask.size, ask.offset
                );
                (format!("/sys/{names}/thing/file/download"), params, QoS::AtMostOnce)
            }
        };
        let packet_id = self.next_id();
        let id = match self.kit {
            Kit::Node => serde_json::Value::from(packet_id.to_string()),
            Kit::Python | Kit::C => serde_json::Value::from(packet_id),
        };
        let payload = format!(r#"{{"id":{id},"params":{params}}}"#);
        let mut publish = Publish::new(topic, qos, payload);
        if qos == QoS::AtLeastOnce {
            publish.pkid = packet_id;
        }
        Packet::Publish(publish)
    }

    /// Takes what the server published to the device.
    pub(super) fn take(&mut self, publish: &Publish) {
        let recorder = &self.site.recorder;
        if self.is_block(&publish.topic) {
            // Nobody waits for one that comes late.
            if let Some(answers) = &self.answers {
                let _ = answers.try_send(publish.payload.clone());
            }
            return;
        }
        let names = publish.topic.strip_prefix("/ota/device/upgrade/").and_then(|rest| rest.split_once('/'));
        if names != Some((self.site.product_key.as_str(), &*self.identity.name)) {
            let notice = Notice::parse(&publish.payload).ok();
            let offers = notice.as_ref().map(|notice| (notice.version.as_str(), notice.wire_id));
            recorder.strayed(self.place, &publish.topic, offers);
            self.trouble(|| format!("got a message on {}", publish.topic));
            return;
        }
        let notice = match Notice::parse(&publish.payload) {
            Ok(notice) => notice,
            Err(why) => {
                count_up(&recorder.totals.odd_messages);
                self.trouble(|| format!("got an unreadable notice: {why}"));
                return;
            }
        };
        recorder.noticed(self.place, &notice.version, notice.wire_id);
        if self.identity.temper == Temper::Silent {
            return;
        }
        // A newer notice, or a repeat of the same, begins the work anew: the server heard nothing final yet.
        let think = Duration::from_millis(self.draw(self.site.work_ms));
        let site = Arc::clone(&self.site);
        let blocks = match notice.source {
            Source::Url(_) => None,
            Source::Stream(stream) => {
                let mode = site.downloads.mode();
                let (blocks, answers) = Blocks::new(stream, mode, notice.size_bytes, notice.digest.clone());
                self.answers = Some(answers);
                Some(blocks)
            }
        };
        let temper = self.temper_for(&notice.version);
        self.work = Some(Box::pin(update(site, self.place, (notice, blocks), temper, think)));
    }

    /// How it behaves towards a notice of this version.
    fn temper_for(&mut self, version: &str) -> Temper {
        let temper = self.identity.temper;
        if temper != Temper::Flaky {
            return temper;
        }
        if self.failed_at == version {
            return Temper::Good;
        }
        version.clone_into(&mut self.failed_at);
        temper
    }

    /// Whether this is the topic of the blocks that it asked for.
    fn is_block(&self, topic: &str) -> bool {
        let names =
            topic.strip_prefix("/sys/").and_then(|rest| rest.strip_suffix("/thing/file/download_reply"));
        names.and_then(|names| names.split_once('/'))
            == Some((self.site.product_key.as_str(), &*self.identity.name))
    }

    /// Notes something for the report.
    pub(super) fn trouble(&self, text: impl FnOnce() -> String) {
        self.site.recorder.trouble(self.place, text);
    }

    /// Chance for this device: uniform in `0..=most`.
    pub(super) fn draw(&mut self, most: u64) -> u64 {
        self.draws += 1;
        draw_upto(self.site.seed, u64::try_from(self.place).unwrap_or(0), self.draws, most)
    }
}

/// The server closed the connection.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed by the server")
}
