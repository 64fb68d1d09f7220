//! A device with a record of its own: on a plain socket, with the codec of a third party.
//!
//! It comes back whenever it loses its server, and repeats what was not acknowledged. Its work outlives a
//! connection, as an update outlives one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use hmac::{Hmac, KeyInit, Mac};
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode, Packet, PubAck, Publish};
use rumqttc::mqttbytes::{Error, QoS};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::rollout::Identity;

const PACKET_MAX: usize = 64 << 10;

/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(60);

/// What a device does with a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Reports progress, works for so long, and has the new version.
    Good(Duration),
    /// The same, but says nothing before the end.
    Mute(Duration),
    /// Reports step −1.
    Failing,
}

/// One notice as the device saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) version: String,
    /// The notice's own number: the same for all deliveries of one attempt.
    pub(crate) wire_id: u64,
}

/// What a device knows of itself.
#[derive(Debug, Default)]
struct Memory {
    version: String,
    /// The version that the server has acknowledged.
    informed: String,
    seen: Vec<Seen>,
    connects: u32,
    online: bool,
    odd: Vec<String>,
    /// Reports that are not acknowledged, and when the update is over that is under way.
    outbox: VecDeque<Say>,
    work: Option<(Instant, String)>,
}

#[derive(Clone, Debug)]
enum Say {
    Progress(i8),
    Inform(String),
}

struct Inner {
    identity: Identity,
    product: String,
    mqtt: SocketAddr,
    temper: Temper,
    qos: QoS,
    memory: Mutex<Memory>,
    news: Notify,
}

/// A device that lives until it is dropped.
pub(crate) struct Device {
    inner: Arc<Inner>,
    life: AbortHandle,
}

impl Drop for Device {
    fn drop(&mut self) {
        self.life.abort();
    }
}

impl Device {
    /// A device that reports with acknowledgement (QoS 1).
    pub(crate) fn start(mqtt: SocketAddr, product: &str, identity: &Identity, temper: Temper) -> Self {
        Self::start_at("1.0.0", QoS::AtLeastOnce, mqtt, product, identity, temper)
    }

    /// A device with this version, which reports with this quality of service.
    pub(crate) fn start_at(
        version: &str,
        qos: QoS,
        mqtt: SocketAddr,
        product: &str,
        identity: &Identity,
        temper: Temper,
    ) -> Self {
        let memory = Mutex::new(Memory { version: version.to_owned(), ..Memory::default() });
        let (identity, product) = (identity.clone(), product.to_owned());
        let inner = Inner { identity, product, mqtt, temper, qos, memory, news: Notify::new() };
        let inner = Arc::new(inner);
        let life = tokio::spawn(live(Arc::clone(&inner))).abort_handle();
        Self { inner, life }
    }

    pub(crate) fn name(&self) -> &str {
        &self.inner.identity.name
    }

    pub(crate) fn temper(&self) -> Temper {
        self.inner.temper
    }

    pub(crate) fn is_online(&self) -> bool {
        self.inner.memory.lock().unwrap().online
    }

    /// How often it was connected.
    pub(crate) fn connects(&self) -> u32 {
        self.inner.memory.lock().unwrap().connects
    }

    /// The version that it runs.
    pub(crate) fn version(&self) -> String {
        self.inner.memory.lock().unwrap().version.clone()
    }

    /// The version that the server knows it runs.
    pub(crate) fn informed(&self) -> String {
        self.inner.memory.lock().unwrap().informed.clone()
    }

    /// The notices for a version.
    pub(crate) fn seen(&self, version: &str) -> Vec<Seen> {
        let memory = self.inner.memory.lock().unwrap();
        memory.seen.iter().filter(|seen| seen.version == version).cloned().collect()
    }

    /// Whether it saw a notice for a version.
    pub(crate) fn was_told(&self, version: &str) -> bool {
        self.inner.memory.lock().unwrap().seen.iter().any(|seen| seen.version == version)
    }

    /// Messages that were no notices for this device.
    pub(crate) fn odd(&self) -> Vec<String> {
        self.inner.memory.lock().unwrap().odd.clone()
    }

    /// Installs a version by other means, and informs it.
    pub(crate) fn become_version(&self, version: &str) {
        let mut memory = self.inner.memory.lock().unwrap();
        memory.version = version.to_owned();
        memory.outbox.push_back(Say::Inform(version.to_owned()));
        self.inner.news.notify_one();
    }
}

async fn live(device: Arc<Inner>) {
    loop {
        if let Ok(socket) = device.connect().await {
            device.came_online();
            // However the connection ends, there is a next one.
            let _ = device.stay(socket).await;
            device.memory.lock().unwrap().online = false;
        }
        sleep(RETRY).await;
    }
}

/// Client id, user name and password of a device.
pub(crate) fn login(product: &str, identity: &Identity) -> [String; 3] {
    login_at("7", product, identity)
}

/// The same with this timestamp.
pub(crate) fn login_at(timestamp: &str, product: &str, identity: &Identity) -> [String; 3] {
    let Identity { name, secret } = identity;
    let id = format!("{product}.{name}");
    let content = format!("clientId{id}deviceName{name}productKey{product}timestamp{timestamp}");
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    let password = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let client_id = format!("{id}|securemode=3,signmethod=hmacsha256,timestamp={timestamp},_ss=1|");
    [client_id, format!("{name}&{product}"), password]
}

fn encoded(packet: Packet) -> BytesMut {
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes, PACKET_MAX).unwrap();
    bytes
}

impl Inner {
    async fn connect(&self) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(self.mqtt).await?;
        socket.set_nodelay(true)?;
        let [client_id, user, password] = login(&self.product, &self.identity);
        let mut connect = Connect::new(client_id);
        connect.keep_alive = 1_200;
        connect.set_login(user, password);
        socket.write_all(&encoded(Packet::Connect(connect))).await?;
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).await?;
        match Packet::read(&mut BytesMut::from(&answer[..]), PACKET_MAX) {
            Ok(Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, .. })) => Ok(socket),
            other => Err(io::Error::other(format!("{other:?}"))),
        }
    }

    /// The version comes first on each connection, then what was not acknowledged on the last one.
    fn came_online(&self) {
        let mut memory = self.memory.lock().unwrap();
        memory.connects += 1;
        memory.online = true;
        let version = memory.version.clone();
        memory.outbox.retain(|say| !matches!(say, Say::Inform(_)));
        memory.outbox.push_front(Say::Inform(version));
    }

    /// Speaks and listens until the connection ends. One report at a time is on its way.
    async fn stay(&self, mut socket: TcpStream) -> io::Result<()> {
        let mut inbox = BytesMut::new();
        let mut pkid = 0_u16;
        let mut awaited = None;
        loop {
            while awaited.is_none()
                && let Some(say) = self.next_say()
            {
                pkid = pkid.checked_add(1).unwrap_or(1);
                let publish = self.publish(&say, pkid);
                awaited = (publish.qos == QoS::AtLeastOnce).then_some(pkid);
                socket.write_all(&encoded(Packet::Publish(publish))).await?;
                if awaited.is_none() {
                    self.said();
                }
            }
            let done = self.memory.lock().unwrap().work.as_ref().map(|(at, _)| *at);
            let finished = async {
                match done {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = socket.read_buf(&mut inbox) => {
                    if read? == 0 {
                        return Ok(());
                    }
                    for packet in packets(&mut inbox)? {
                        match packet {
                            Packet::PubAck(PubAck { pkid }) if awaited == Some(pkid) => {
                                awaited = None;
                                self.said();
                            }
                            Packet::Publish(publish) => self.take(&publish),
                            _ => {}
                        }
                    }
                }
                () = finished => self.finish_work(),
                () = self.news.notified() => {}
            }
        }
    }

    fn next_say(&self) -> Option<Say> {
        self.memory.lock().unwrap().outbox.front().cloned()
    }

    fn said(&self) {
        let mut memory = self.memory.lock().unwrap();
        if let Some(Say::Inform(version)) = memory.outbox.pop_front() {
            memory.informed = version;
        }
    }

    fn publish(&self, say: &Say, pkid: u16) -> Publish {
        let (topic, params) = match say {
            Say::Progress(step) => ("progress", serde_json::json!({"step": step.to_string(), "desc": ""})),
            Say::Inform(version) => ("inform", serde_json::json!({ "version": version })),
        };
        let topic = format!("/ota/device/{topic}/{}/{}", self.product, self.identity.name);
        let payload = serde_json::json!({"id": pkid.to_string(), "params": params}).to_string();
        let mut publish = Publish::new(topic, self.qos, payload);
        publish.pkid = if self.qos == QoS::AtLeastOnce { pkid } else { 0 };
        publish
    }

    fn take(&self, publish: &Publish) {
        let at = Instant::now();
        let mut memory = self.memory.lock().unwrap();
        let own = format!("/ota/device/upgrade/{}/{}", self.product, self.identity.name);
        let Some((wire_id, version)) = notice(&publish.payload).filter(|_| publish.topic == own) else {
            memory.odd.push(format!("{}: {}", publish.topic, String::from_utf8_lossy(&publish.payload)));
            return;
        };
        memory.seen.push(Seen { at, version: version.clone(), wire_id });
        match self.temper {
            Temper::Failing if memory.outbox.iter().any(|say| matches!(say, Say::Progress(-1))) => {}
            Temper::Failing => memory.outbox.push_back(Say::Progress(-1)),
            // Told again what it has: the server did not hear of it.
            Temper::Good(_) | Temper::Mute(_) if memory.version == version => {
                memory.outbox.push_back(Say::Inform(version));
            }
            Temper::Good(_) | Temper::Mute(_) if memory.work.is_some() => {}
            Temper::Mute(span) => memory.work = Some((at + span, version)),
            Temper::Good(span) => {
                memory.outbox.push_back(Say::Progress(10));
                memory.work = Some((at + span, version));
            }
        }
    }

    fn finish_work(&self) {
        let mut memory = self.memory.lock().unwrap();
        if let Some((_, version)) = memory.work.take() {
            memory.version.clone_from(&version);
            memory.outbox.extend([Say::Progress(100), Say::Inform(version)]);
        }
    }
}

fn packets(inbox: &mut BytesMut) -> io::Result<Vec<Packet>> {
    let mut packets = Vec::new();
    loop {
        match Packet::read(inbox, PACKET_MAX) {
            Ok(packet) => packets.push(packet),
            Err(Error::InsufficientBytes(_)) => return Ok(packets),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

/// The number and the version of a notice.
fn notice(payload: &[u8]) -> Option<(u64, String)> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let id = &value["id"];
    let id = id.as_u64().or_else(|| id.as_str()?.parse().ok())?;
    Some((id, value["data"]["version"].as_str()?.to_owned()))
}

/// The most of these instants in any half-open window `[t, t + window)`.
pub(crate) fn most_in_any(window: Duration, instants: &[Instant]) -> usize {
    let mut sorted = instants.to_vec();
    sorted.sort_unstable();
    // A window with the most in it can be moved until it begins at one of them.
    let counts = sorted
        .iter()
        .enumerate()
        .map(|(begin, first)| sorted[begin..].partition_point(|at| *at < *first + window));
    counts.max().unwrap_or(0)
}
