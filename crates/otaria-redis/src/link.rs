//! The one connection of a process to Redis, and what all parts need of it.
//!
//! A command is sent once: when its answer does not come, the caller hears so and decides. While there is no
//! connection every command fails at once, and one task tries to connect again, at growing distances.
//!
//! Invariant: a connection that failed to answer in time, or whose server may not be written to, is never
//! used again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use otaria_ports::Unavailable;
use otaria_ports::ids::Ids;
use parking_lot::RwLock;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, RedisResult, ServerErrorKind, cmd};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::clock::Monotonic;
use crate::config::{BadConfig, RedisConfig};
use crate::keys::Keys;
use crate::script::{Call, Lua};
use crate::server::{Connection, Server};

/// Between two tries to connect: the first distance, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Between two looks at the server's time and incarnation.
const BEAT: Duration = Duration::from_millis(500);
/// Letters of the name that a process goes by: 95 bits.
const NAME: usize = 16;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] BadConfig),
    /// The server does not answer, or refuses.
    #[error("Redis is not reachable")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Under another policy the server throws keys away when its memory is full, and with them the pace.
    #[error(
        "Redis has maxmemory-policy {policy}, under which it forgets keys; \
         set `maxmemory-policy noeviction` in its configuration, or give Otaria a server of its own"
    )]
    Evicts {
        /// The policy found.
        policy: String,
    },
}

/// What the server said at one of the regular looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    /// The incarnation of what the server keeps.
    pub(crate) incarnation: u64,
    /// Its time, in unix microseconds.
    pub(crate) server_micros: i64,
    /// This process's monotonic time when it asked.
    pub(crate) asked_micros: i64,
    /// And when it heard the answer.
    pub(crate) heard_micros: i64,
}

/// See the module. Clones share it; it ends with the last one.
#[derive(Clone)]
pub struct RedisLink(Arc<Inner>);

struct Inner {
    server: Server,
    keys: Keys,
    name: String,
    ids: Arc<dyn Ids>,
    monotonic: Monotonic,
    command_timeout: Duration,
    connection: RwLock<Option<(u64, Connection)>>,
    beats: watch::Sender<Beat>,
    beat: Lua,
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisLink").field("process", &self.0.name).finish_non_exhaustive()
    }
}

const BEAT_LUA: &str = "
local number = incarnation(KEYS[1], tonumber(ARGV[1]))
return {number, time_us()}";

impl RedisLink {
    /// Connects, and checks that the server is fit to keep what is shared. Draws the name under which this
    /// process is known to the others from `ids`.
    ///
    /// # Errors
    /// When the configuration cannot be used, the server does not answer, or it evicts keys.
    pub async fn open(config: &RedisConfig, ids: Arc<dyn Ids>) -> Result<Self, OpenError> {
        let server = Server::new(config)?;
        let unreachable = |error: RedisError| OpenError::Unreachable(Box::new(Told::of(&error)));
        let mut connection = server.connect(config.command_timeout).await.map_err(unreachable)?;
        let memory: Vec<String> = match &connection {
            Connection::One(_) => {
                vec![connection.query(cmd("INFO").arg("memory")).await.map_err(unreachable)?]
            }
            Connection::Cluster(_) => {
                // Of all nodes.
                let answer: redis::Value =
                    connection.query(cmd("INFO").arg("memory")).await.map_err(unreachable)?;
                texts(&answer)
            }
        };
        let mut policies = memory.iter().filter_map(|text| policy_in(text));
        if let Some(policy) = policies.find(|policy| *policy != "noeviction") {
            return Err(OpenError::Evicts { policy: policy.to_owned() });
        }
        let link = Self(Arc::new(Inner {
            server,
            keys: Keys(config.prefix.clone()),
            name: ids.text(NAME),
            ids,
            monotonic: Monotonic::begin(),
            command_timeout: config.command_timeout,
            connection: RwLock::new(Some((0, connection))),
            beats: watch::channel(Beat::default()).0,
            beat: Lua::new(BEAT_LUA),
        }));
        link.0.look().await.map_err(unreachable)?;
        tokio::spawn(keep_looking(Arc::downgrade(&link.0)));
        Ok(link)
    }

    /// The name by which other processes know this one; another one at every start.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.0.name
    }

    /// Whether there is a connection, for a readiness check.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0.connection.read().is_some()
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.0.keys
    }

    pub(crate) fn monotonic(&self) -> Monotonic {
        self.0.monotonic
    }

    pub(crate) fn beats(&self) -> watch::Receiver<Beat> {
        self.0.beats.subscribe()
    }

    /// Which connection is in use; `None` while there is none. What has a connection of its own makes a new one
    /// when this changes: the server may have lost its lead, which one who only reads does not notice.
    pub(crate) fn connection_number(&self) -> Option<u64> {
        self.0.connection.read().as_ref().map(|(number, _)| *number)
    }

    pub(crate) fn server(&self) -> &Server {
        &self.0.server
    }

    pub(crate) fn downgrade(&self) -> WeakLink {
        WeakLink(Arc::downgrade(&self.0))
    }

    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        call: &Call<'_>,
        doing: &'static str,
    ) -> Result<T, Unavailable> {
        let (number, mut connection) = self.0.connection(doing)?;
        let answer = call.run(&mut connection).await;
        self.0.judge(number, answer, doing)
    }

    pub(crate) async fn query<T: FromRedisValue>(
        &self,
        cmd: &Cmd,
        doing: &'static str,
    ) -> Result<T, Unavailable> {
        let (number, mut connection) = self.0.connection(doing)?;
        let answer = connection.query(cmd).await;
        self.0.judge(number, answer, doing)
    }

    /// Says something on a channel; returns how many connections of the same server heard it.
    pub(crate) async fn publish(
        &self,
        channel: &str,
        bytes: &[u8],
        doing: &'static str,
    ) -> Result<u64, Unavailable> {
        self.query(cmd("PUBLISH").arg(channel).arg(bytes), doing).await
    }

    /// How long to wait before try `n` (from 0), with some chance in it: many processes lost the same server.
    pub(crate) fn backoff(&self, n: u32) -> Duration {
        self.0.backoff(n)
    }
}

/// A link that does not keep the link alive: what runs by itself ends when nobody uses the link any more.
#[derive(Clone)]
pub(crate) struct WeakLink(Weak<Inner>);

impl WeakLink {
    pub(crate) fn upgrade(&self) -> Option<RedisLink> {
        self.0.upgrade().map(RedisLink)
    }
}

impl Inner {
    fn connection(&self, doing: &'static str) -> Result<(u64, Connection), Unavailable> {
        self.connection.read().clone().ok_or(Unavailable::while_doing(doing))
    }

    fn judge<T>(
        self: &Arc<Self>,
        number: u64,
        answer: RedisResult<T>,
        doing: &'static str,
    ) -> Result<T, Unavailable> {
        answer.map_err(|error| {
            metrics::counter!("otaria_redis_failures_total", "doing" => doing).increment(1);
            if is_over(&error) {
                self.give_up(number, &error);
            }
            Unavailable { doing, source: Some(Box::new(Told::of(&error))) }
        })
    }

    /// Throws a connection away, if it is still the present one, and begins to connect again.
    fn give_up(self: &Arc<Self>, number: u64, why: &RedisError) {
        let mut connection = self.connection.write();
        if connection.as_ref().is_none_or(|(present, _)| *present != number) {
            return;
        }
        *connection = None;
        drop(connection);
        metrics::counter!("otaria_redis_disconnects_total").increment(1);
        metrics::gauge!("otaria_redis_up").set(0.0);
        tracing::warn!(reason = %Told::of(why), "the connection to Redis is lost; connecting again");
        tokio::spawn(connect_again(Arc::downgrade(self), number + 1));
    }

    /// Asks for time and incarnation, and tells.
    async fn look(self: &Arc<Self>) -> RedisResult<()> {
        const DOING: &str = "looking at Redis's clock";
        let Ok((number, mut connection)) = self.connection(DOING) else { return Ok(()) };
        let keys = [self.keys.beat()];
        let call = self.beat.call(&keys).arg(self.beats.borrow().incarnation);
        let asked_micros = self.monotonic.micros();
        let (incarnation, server_micros): (u64, i64) = match call.run(&mut connection).await {
            Ok(answer) => answer,
            Err(error) => {
                let _ = self.judge::<()>(number, Err(error.clone()), DOING);
                return Err(error);
            }
        };
        let heard_micros = self.monotonic.micros();
        let before = self.beats.borrow().incarnation;
        if before != 0 && incarnation != before {
            metrics::counter!("otaria_redis_losses_total").increment(1);
            tracing::warn!("Redis began anew or lost data; what was shared is built up again");
        }
        self.beats.send_replace(Beat { incarnation, server_micros, asked_micros, heard_micros });
        metrics::gauge!("otaria_redis_up").set(1.0);
        metrics::histogram!("otaria_redis_roundtrip_seconds")
            .record((heard_micros - asked_micros) as f64 / 1_000_000.0);
        Ok(())
    }

    fn backoff(&self, n: u32) -> Duration {
        let (first, longest) = BACKOFF;
        let full = first.saturating_mul(1 << n.min(16)).min(longest);
        let mut chance = [0];
        self.ids.fill(&mut chance);
        // Half of it is certain, half is drawn.
        full / 2 + full / 2 * u32::from(chance[0]) / 255
    }
}

/// Whether a connection that gave this error is of no use any more.
fn is_over(error: &RedisError) -> bool {
    let not_the_leader = [ServerErrorKind::ReadOnly, ServerErrorKind::MasterDown];
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.is_io_error()
        || error.kind() == ErrorKind::ClusterConnectionNotFound
        || not_the_leader.into_iter().any(|kind| error.kind() == kind.into())
}

async fn keep_looking(inner: Weak<Inner>) {
    loop {
        sleep(BEAT).await;
        let Some(inner) = inner.upgrade() else { return };
        // A failure was counted, and the connection is given up where that helps.
        let _ = inner.look().await;
    }
}

async fn connect_again(inner: Weak<Inner>, number: u64) {
    for n in 0.. {
        let Some(this) = inner.upgrade() else { return };
        let pause = this.backoff(n);
        drop(this);
        sleep(pause).await;
        let Some(this) = inner.upgrade() else { return };
        match this.server.connect(this.command_timeout).await {
            Ok(connection) => {
                *this.connection.write() = Some((number, connection));
                tracing::info!("connected to Redis again");
                let _ = this.look().await;
                return;
            }
            Err(error) => {
                if n == 5 {
                    tracing::warn!(reason = %Told::of(&error), "Redis is still not reachable");
                }
            }
        }
    }
}

/// An error of the library in words that hold no secret: its kind and code, never a URL or an argument.
#[derive(Debug, thiserror::Error)]
#[error("{kind:?} {words}")]
pub(crate) struct Told {
    kind: ErrorKind,
    words: String,
}

impl Told {
    pub(crate) fn of(error: &RedisError) -> Self {
        // A script's own words follow its code; details of the client may hold an address, no password.
        let words = [error.code(), error.detail()].into_iter().flatten().collect::<Vec<_>>().join(": ");
        Self { kind: error.kind(), words }
    }
}

fn policy_in(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim)
}

/// All texts in an answer that may be a map of nodes.
fn texts(value: &redis::Value) -> Vec<String> {
    match value {
        redis::Value::Map(pairs) => pairs.iter().flat_map(|(_, value)| texts(value)).collect(),
        redis::Value::Array(values) => values.iter().flat_map(texts).collect(),
        one => String::from_redis_value_ref(one).into_iter().collect(),
    }
}
