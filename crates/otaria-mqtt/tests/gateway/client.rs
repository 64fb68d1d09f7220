//! The third party's client, and plain sockets for what it would never send.

use std::net::SocketAddr;
use std::time::Duration;

use otaria_core::door::ConnectClaim;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, Publish, QoS,
    SubscribeReasonCode, Transport,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::world::{PRODUCT, QUIET, SECRET, SOON, name};

/// The longest packet of a test: a block of a package with its frame.
const PACKET_MAX: usize = 160 << 10;

/// A client that is connected, and what it gets.
pub(crate) struct Client {
    pub(crate) mqtt: AsyncClient,
    packets: mpsc::UnboundedReceiver<Result<Packet, ConnectionError>>,
}

/// The texts of a device's CONNECT.
pub(crate) fn texts(n: i64, pairs: &str, secret: &str) -> [String; 3] {
    let device = name(n);
    let client_id = format!("{PRODUCT}.{device}|{pairs}|");
    let user = format!("{device}&{PRODUCT}");
    let password = ConnectClaim::parse(&client_id, &user).unwrap().password(secret.as_bytes());
    [client_id, user, password]
}

impl Client {
    /// Connects with these texts; the error is the code of the refusal.
    pub(crate) async fn connect(
        address: SocketAddr,
        [client_id, user, password]: [String; 3],
        transport: Option<Transport>,
    ) -> Result<Self, ConnectReturnCode> {
        let mut options = MqttOptions::new(client_id, address.ip().to_string(), address.port());
        options.set_credentials(user, password).set_keep_alive(Duration::from_secs(60));
        options.set_max_packet_size(PACKET_MAX, PACKET_MAX);
        if let Some(transport) = transport {
            options.set_transport(transport);
        }
        let (mqtt, mut events) = AsyncClient::new(options, 100);
        let (sender, packets) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let packet = match events.poll().await {
                    Ok(Event::Incoming(packet)) => Ok(packet),
                    Ok(Event::Outgoing(_)) => continue,
                    Err(error) => Err(error),
                };
                let over = packet.is_err();
                if sender.send(packet).is_err() || over {
                    return;
                }
            }
        });
        let mut client = Self { mqtt, packets };
        match tokio::time::timeout(SOON, client.packets.recv()).await.expect("an answer soon") {
            Some(Ok(Packet::ConnAck(_))) => Ok(client),
            Some(Err(ConnectionError::ConnectionRefused(code))) => Err(code),
            other => panic!("no CONNACK but {other:?}"),
        }
    }

    /// A device that logs in with `_ss=1`.
    pub(crate) async fn device(address: SocketAddr, n: i64) -> Self {
        let texts = texts(n, "securemode=3,signmethod=hmacsha256,_ss=1", SECRET);
        Self::connect(address, texts, None).await.unwrap()
    }

    /// A device that has to subscribe by itself.
    pub(crate) async fn silent_device(address: SocketAddr, n: i64) -> Self {
        let texts = texts(n, "securemode=3,signmethod=hmacsha1", SECRET);
        Self::connect(address, texts, None).await.unwrap()
    }

    /// The next packet, `None` when the connection has ended.
    pub(crate) async fn packet(&mut self) -> Option<Packet> {
        let packet = tokio::time::timeout(SOON, self.packets.recv()).await.expect("a packet soon");
        packet.and_then(Result::ok)
    }

    /// The next PUBLISH.
    pub(crate) async fn publish(&mut self) -> Publish {
        loop {
            match self.packet().await {
                Some(Packet::Publish(publish)) => return publish,
                Some(_) => {}
                None => panic!("the connection has ended"),
            }
        }
    }

    /// The next PUBLISH as JSON.
    pub(crate) async fn json(&mut self) -> Value {
        serde_json::from_slice(&self.publish().await.payload).unwrap()
    }

    /// Whether nothing is published to it for a while, and it is still connected.
    pub(crate) async fn hears_nothing(&mut self) -> bool {
        let quiet = async {
            loop {
                match self.packets.recv().await {
                    Some(Ok(Packet::Publish(_))) | Some(Err(_)) | None => return,
                    Some(Ok(_)) => {}
                }
            }
        };
        tokio::time::timeout(QUIET, quiet).await.is_err()
    }

    /// Whether nothing is published to it for a while, connected or not.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let publish = async {
            while let Some(packet) = self.packets.recv().await {
                if matches!(packet, Ok(Packet::Publish(_))) {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::time::timeout(QUIET, publish).await.is_err()
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&mut self) {
        while self.packet().await.is_some() {}
    }

    /// Subscribes and returns whether it was granted.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) -> bool {
        self.mqtt.subscribe(filter, qos).await.unwrap();
        loop {
            match self.packet().await {
                Some(Packet::SubAck(ack)) => {
                    return matches!(ack.return_codes[..], [SubscribeReasonCode::Success(_)]);
                }
                Some(_) => {}
                None => panic!("the connection has ended"),
            }
        }
    }

    pub(crate) async fn say(&self, topic: &str, payload: &str) {
        self.mqtt.publish(topic, QoS::AtMostOnce, false, payload).await.unwrap();
    }
}

/// A CONNECT of MQTT 3.1.1 by hand.
pub(crate) fn connect_packet([client_id, user, password]: &[String; 3]) -> Vec<u8> {
    let mut body = [&[0, 4][..], b"MQTT", &[4, 0xc2, 0, 60]].concat();
    for text in [client_id, user, password] {
        body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
        body.extend(text.as_bytes());
    }
    framed(0x10, &body)
}

/// A packet with its length.
pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap();
        length >>= 7;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// A PUBLISH of QoS 0 on any bytes.
pub(crate) fn publish_packet(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    framed(0x30, &[&u16::try_from(topic.len()).unwrap().to_be_bytes()[..], topic, payload].concat())
}

/// A device on a plain socket, logged in with `_ss=1`.
pub(crate) async fn raw_device(address: SocketAddr, n: i64) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(&connect_packet(&texts(n, "securemode=3,_ss=1", SECRET))).await.unwrap();
    assert_eq!(read(&mut socket, 4).await, [0x20, 2, 0, 0]);
    socket
}

/// Reads that many bytes.
pub(crate) async fn read(socket: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    tokio::time::timeout(SOON, socket.read_exact(&mut bytes)).await.expect("bytes soon").unwrap();
    bytes
}

/// Waits until the other side hangs up.
pub(crate) async fn hung_up(socket: &mut TcpStream) {
    let end = async {
        let mut waste = [0; 4_096];
        while socket.read(&mut waste).await.is_ok_and(|count| count > 0) {}
    };
    tokio::time::timeout(SOON, end).await.expect("the end soon");
}

/// Whether the other side still answers a PINGREQ.
pub(crate) async fn answers(socket: &mut TcpStream) -> bool {
    socket.write_all(&[0xc0, 0]).await.is_ok() && read(socket, 2).await == [0xd0, 0]
}
