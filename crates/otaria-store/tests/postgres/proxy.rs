//! A line to the server that a test can cut: all of it, or one connection at a chosen statement.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Where a connection is cut.
#[derive(Clone, Debug)]
pub(crate) struct Cut {
    /// When the client says this.
    pub(crate) at: &'static str,
    /// Whether the server still hears it.
    pub(crate) heard: bool,
}

/// A proxy before the server of `url`.
pub(crate) struct Proxy {
    pub(crate) url: String,
    /// Whether connections are let through; those that are there are cut when it turns false.
    open: watch::Sender<bool>,
    cut: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    pub(crate) async fn before(url: &str) -> Self {
        let server: PgConnectOptions = url.parse().unwrap();
        let address = (server.get_host().to_owned(), server.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (user, database) = (server.get_username(), server.get_database().unwrap());
        let url = format!("postgres://{user}@127.0.0.1:{port}/{database}?sslmode=disable");
        let (open, mut is_open) = watch::channel(true);
        let cut = Arc::new(Mutex::new(None));
        let cuts = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *is_open.borrow_and_update() {
                    let server = TcpStream::connect(&address).await.unwrap();
                    tokio::spawn(carry(client, server, is_open.clone(), Arc::clone(&cuts)));
                }
            }
        });
        Self { url, open, cut }
    }

    /// Cuts every connection, and refuses new ones for so long.
    pub(crate) async fn away(&self, time: Duration) {
        self.open.send_replace(false);
        tokio::time::sleep(time).await;
        self.open.send_replace(true);
    }

    /// Cuts the next connection that comes to this point.
    pub(crate) fn cut(&self, at: &'static str, heard: bool) {
        *self.cut.lock().unwrap() = Some(Cut { at, heard });
    }

    /// Whether it was cut there.
    pub(crate) fn was_cut(&self) -> bool {
        self.cut.lock().unwrap().is_none()
    }
}

async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut is_open: watch::Receiver<bool>,
    cuts: Arc<Mutex<Option<Cut>>>,
) {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            _ = is_open.changed() => return,
            n = client.read(&mut asked) => {
                let Ok(n @ 1..) = n else { return };
                let says = |cut: &mut Cut| asked[..n].windows(cut.at.len()).any(|part| part == cut.at.as_bytes());
                let cut = cuts.lock().unwrap().take_if(says);
                if cut.as_ref().is_some_and(|cut| !cut.heard) {
                    return;
                }
                if server.write_all(&asked[..n]).await.is_err() {
                    return;
                }
                if cut.is_some() {
                    // It is done when it answers, and nobody hears that.
                    let _ = server.read(&mut answered).await;
                    return;
                }
            }
            n = server.read(&mut answered) => {
                let Ok(n @ 1..) = n else { return };
                if client.write_all(&answered[..n]).await.is_err() {
                    return;
                }
            }
        }
    }
}
