//! Connections to whatever stands behind the URL: one server, the leader that sentinels name, or a cluster.
//!
//! Never decides when to connect again: that is the link.

use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, TlsCertificates,
    TlsMode,
};
use rustls::crypto::{CryptoProvider, ring};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::config::{BadConfig, RedisConfig, Target};

/// A connection for commands. Clones share it; commands of all clones are pipelined.
#[derive(Clone)]
pub(crate) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) async fn query<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        match self {
            Self::One(connection) => cmd.query_async(connection).await,
            Self::Cluster(connection) => cmd.query_async(connection).await,
        }
    }
}

/// Whoever gives connections.
pub(crate) struct Server {
    kind: Kind,
    connect_timeout: Duration,
}

enum Kind {
    One(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    Cluster { client: Box<ClusterClient>, nodes: Vec<Client> },
}

const BAD_CERTIFICATES: BadConfig = BadConfig("the certificates of Redis's authority are no PEM");
const NOT_USABLE: BadConfig = BadConfig("this Redis URL cannot be used");

impl Server {
    pub(crate) fn new(config: &RedisConfig) -> Result<Self, BadConfig> {
        // The library takes the process's provider of cryptography; whoever installed one has decided.
        if CryptoProvider::get_default().is_none() {
            let _ = ring::default_provider().install_default();
        }
        let certificates = || {
            config
                .root_certificates
                .clone()
                .map(|root| TlsCertificates { client_tls: None, root_cert: Some(root) })
        };
        let client = |info: redis::ConnectionInfo| match certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates).map_err(|_| BAD_CERTIFICATES),
            None => Client::open(info).map_err(|_| NOT_USABLE),
        };
        let kind = match config.target()? {
            Target::One(info) => Kind::One(Box::new(client(info)?)),
            Target::Sentinel { sentinels, master, tls, login, db } => {
                let builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master);
                let mut builder = builder.map_err(|_| NOT_USABLE)?.set_client_to_redis_db(db);
                if let Some(user) = login.user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = login.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                if tls {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                    if let Some(certificates) = certificates() {
                        builder = builder.set_client_to_redis_certificates(certificates.clone());
                        builder = builder.set_client_to_sentinel_certificates(certificates);
                    }
                }
                Kind::Sentinel(Box::new(Mutex::new(builder.build().map_err(|_| NOT_USABLE)?)))
            }
            Target::Cluster { nodes } => {
                let mut builder = ClusterClientBuilder::new(nodes.clone())
                    .retries(2)
                    .connection_timeout(config.connect_timeout)
                    .response_timeout(config.command_timeout);
                if let Some(certificates) = certificates() {
                    builder = builder.certs(certificates);
                }
                let cluster = builder.build().map_err(|_| NOT_USABLE)?;
                let nodes: Result<Vec<_>, _> = nodes.into_iter().map(client).collect();
                Kind::Cluster { client: Box::new(cluster), nodes: nodes? }
            }
        };
        Ok(Self { kind, connect_timeout: config.connect_timeout })
    }

    pub(crate) fn is_cluster(&self) -> bool {
        match self.kind {
            Kind::One(_) | Kind::Sentinel(_) => false,
            Kind::Cluster { .. } => true,
        }
    }

    /// A connection for commands that answer within `answer`.
    pub(crate) async fn connect(&self, answer: Duration) -> RedisResult<Connection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(answer));
        let connect = async {
            match &self.kind {
                Kind::One(client) => {
                    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
                }
                Kind::Sentinel(client) => {
                    let client = client.lock().await.async_get_client().await?;
                    client.get_multiplexed_async_connection_with_config(&config).await.map(Connection::One)
                }
                Kind::Cluster { client, .. } => client.get_async_connection().await.map(Connection::Cluster),
            }
        };
        within(self.connect_timeout * 2, connect).await
    }

    /// A connection that hears channels. In a cluster every node hears all of them.
    pub(crate) async fn ears(&self) -> RedisResult<PubSub> {
        let connect = async {
            match &self.kind {
                Kind::One(client) => client.get_async_pubsub().await,
                Kind::Sentinel(client) => {
                    let client = client.lock().await.async_get_client().await?;
                    client.get_async_pubsub().await
                }
                Kind::Cluster { nodes, .. } => {
                    let mut last =
                        RedisError::from((ErrorKind::ClusterConnectionNotFound, "no node answers"));
                    for node in nodes {
                        match node.get_async_pubsub().await {
                            Ok(ears) => return Ok(ears),
                            Err(error) => last = error,
                        }
                    }
                    Err(last)
                }
            }
        };
        within(self.connect_timeout * 2, connect).await
    }
}

async fn within<T>(span: Duration, work: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let timed_out = || RedisError::from((ErrorKind::Io, "no connection in time"));
    timeout(span, work).await.unwrap_or_else(|_| Err(timed_out()))
}
