//! HTTP/1.1 by hand: what a well-behaved client would never send can be sent.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::SOON;

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// 0 if the other side hung up without a word.
    pub(crate) status: u16,
    pub(crate) text: String,
}

/// Gets one path.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    send(address, request.as_bytes()).await
}

/// Sends a request and reads to the end of the connection.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    exchange(address, bytes, false).await
}

/// Sends bytes, whatever they are, says that no more will come, and reads what the other side makes of it.
pub(crate) async fn blurt(address: SocketAddr, bytes: &[u8]) -> Answer {
    exchange(address, bytes, true).await
}

async fn exchange(address: SocketAddr, bytes: &[u8], then_silent: bool) -> Answer {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // The other side may hang up before it has read everything.
        let _ = socket.write_all(bytes).await;
        if then_silent {
            let _ = socket.shutdown().await;
        }
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        answer
    };
    let answer = timeout(SOON, exchange).await.expect("an answer soon");
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    Answer { status: status.unwrap_or(0), text }
}
