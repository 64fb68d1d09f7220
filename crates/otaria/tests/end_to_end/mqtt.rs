//! A third party's MQTT client, and plain sockets for what it would never send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, Packet, Publish, QoS,
    SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{QUIET, SOON};

/// A client that is connected, and what it gets.
pub(crate) struct Client {
    mqtt: AsyncClient,
    packets: mpsc::UnboundedReceiver<Packet>,
}

impl Client {
    /// Connects with client id, user name and password; the error is the code of the refusal.
    pub(crate) async fn connect(mqtt: SocketAddr, login: [String; 3]) -> Result<Self, ConnectReturnCode> {
        Self::connect_by(Transport::Tcp, mqtt, login).await
    }

    /// The same over TLS.
    pub(crate) async fn connect_tls(
        trust: Arc<ClientConfig>,
        mqtt: SocketAddr,
        login: [String; 3],
    ) -> Result<Self, ConnectReturnCode> {
        let transport = Transport::tls_with_config(TlsConfiguration::Rustls(trust));
        Self::connect_by(transport, mqtt, login).await
    }

    async fn connect_by(
        transport: Transport,
        mqtt: SocketAddr,
        [client_id, user, password]: [String; 3],
    ) -> Result<Self, ConnectReturnCode> {
        let mut options = MqttOptions::new(client_id, mqtt.ip().to_string(), mqtt.port());
        options.set_credentials(user, password).set_keep_alive(Duration::from_secs(60));
        options.set_transport(transport);
        let (mqtt, mut events) = AsyncClient::new(options, 100);
        let connected = async {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => return Ok(()),
                    Ok(_) => {}
                    Err(ConnectionError::ConnectionRefused(code)) => return Err(code),
                    Err(error) => panic!("no CONNACK: {error}"),
                }
            }
        };
        timeout(SOON, connected).await.expect("a CONNACK soon")?;
        let (sender, packets) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(event) = events.poll().await {
                if let Event::Incoming(packet) = event
                    && sender.send(packet).is_err()
                {
                    return;
                }
            }
        });
        Ok(Self { mqtt, packets })
    }

    /// A platform client with an access key.
    pub(crate) async fn platform(
        mqtt: SocketAddr,
        name: &str,
        [id, secret]: [String; 2],
    ) -> Result<Self, ConnectReturnCode> {
        Self::connect(mqtt, [name.to_owned(), id, secret]).await
    }

    async fn packet(&mut self) -> Packet {
        timeout(SOON, self.packets.recv()).await.expect("a packet soon").expect("it is connected")
    }

    /// The next message.
    pub(crate) async fn publish(&mut self) -> Publish {
        loop {
            if let Packet::Publish(publish) = self.packet().await {
                return publish;
            }
        }
    }

    /// Subscribes and tells whether it was granted.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> bool {
        self.mqtt.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        loop {
            if let Packet::SubAck(ack) = self.packet().await {
                return matches!(ack.return_codes[..], [SubscribeReasonCode::Success(_)]);
            }
        }
    }

    /// Publishes and waits until that is acknowledged, which says nothing of whom it reaches.
    pub(crate) async fn say(&mut self, topic: &str, payload: &str) {
        self.mqtt.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
        while !matches!(self.packet().await, Packet::PubAck(_)) {}
    }

    /// Whether nothing is published to it for a while, and it is still connected.
    pub(crate) async fn hears_nothing(&mut self) -> bool {
        let quiet = async {
            while let Some(packet) = self.packets.recv().await {
                if matches!(packet, Packet::Publish(_)) {
                    return;
                }
            }
        };
        timeout(QUIET, quiet).await.is_err()
    }
}

/// A packet with its length before it.
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

fn text(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

/// A CONNECT of MQTT 3.1.1.
pub(crate) fn connect_packet([client_id, user, password]: &[String; 3]) -> Vec<u8> {
    let texts = [client_id, user, password].map(|part| text(part.as_bytes())).concat();
    framed(0x10, &[b"\0\x04MQTT\x04\xc2\0\x3c", &texts[..]].concat())
}

/// A PUBLISH of QoS 0 on any bytes.
pub(crate) fn publish_packet(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    framed(0x30, &[&text(topic), payload].concat())
}

/// Connects a socket and sends a CONNECT; tells the code of the CONNACK.
pub(crate) async fn knock(mqtt: SocketAddr, login: &[String; 3]) -> (TcpStream, u8) {
    let mut socket = TcpStream::connect(mqtt).await.unwrap();
    socket.write_all(&connect_packet(login)).await.unwrap();
    let mut answer = [0; 4];
    timeout(SOON, socket.read_exact(&mut answer)).await.expect("an answer soon").unwrap();
    assert_eq!(answer[..3], [0x20, 2, 0], "a CONNACK");
    (socket, answer[3])
}

/// Whether the other side still answers a PINGREQ.
pub(crate) async fn answers(socket: &mut TcpStream) -> bool {
    let mut answer = [0; 2];
    let exchange = async {
        socket.write_all(&[0xc0, 0]).await?;
        socket.read_exact(&mut answer).await
    };
    timeout(SOON, exchange).await.is_ok_and(|done| done.is_ok()) && answer == [0xd0, 0]
}

/// Waits until the other side hangs up.
pub(crate) async fn hung_up(socket: &mut TcpStream) {
    let end = async {
        let mut waste = [0; 4_096];
        while socket.read(&mut waste).await.is_ok_and(|count| count > 0) {}
    };
    timeout(SOON, end).await.expect("the end soon");
}
