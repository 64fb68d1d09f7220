//! The task that reads the logs on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use otaria_core::shard::Shard;
use redis::{Cmd, Value, cmd};
use tokio::time::{sleep, timeout};

use super::{Entry, Inner, LogId, WAITING, WeakInner, moment};
use crate::server::Connection;

/// How long the server holds a question for which there is nothing new. A shard that is newly followed waits
/// as long before it is asked for.
const HOLD: Duration = Duration::from_millis(100);
/// Entries of one log in an answer.
const COUNT: usize = 1_000;
/// Longer than the server holds a question.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two looks at who lives, in microseconds. The last of three comes later than the link's next look at
/// the incarnation, and a gateway is buried at most 6.2 s after its last sign.
const LOOK: i64 = 400_000;
/// Gateways have this long after a loss to announce their devices, before whoever is missing is offline.
const GRACE: i64 = 3_000_000;
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(200);

/// Reads until nobody uses presence any more.
pub(super) async fn run(inner: WeakInner) {
    let mut connection: Option<(u64, Connection)> = None;
    let mut looks = Looks::default();
    loop {
        let Some(this) = inner.upgrade() else { return };
        let ends: BTreeMap<Shard, LogId> = {
            let state = this.follower.state.lock();
            if state.changes.len() >= WAITING {
                BTreeMap::new()
            } else {
                state.views.iter().map(|(shard, view)| (*shard, view.read_to)).collect()
            }
        };
        looks.look(&this).await;
        if ends.is_empty() {
            let _ = timeout(HOLD, this.follower.more.notified()).await;
            continue;
        }
        let number = this.link.connection_number();
        if connection.as_ref().is_none_or(|(of, _)| Some(*of) != number) {
            connection = match number {
                Some(number) => this.link.server().connect(ANSWER).await.ok().map(|open| (number, open)),
                None => None,
            };
        }
        let Some((_, open)) = &mut connection else {
            drop(this);
            sleep(AGAIN).await;
            continue;
        };
        match read(&this, open, &ends).await {
            Ok(read) => {
                for (shard, entries) in read {
                    if !this.follower.take(shard, entries) {
                        looks.torn.insert(shard);
                    }
                }
            }
            Err(error) => {
                tracing::debug!(reason = %crate::link::Told::of(&error), "logs of presence were not read");
                metrics::counter!("otaria_redis_follow_failures_total").increment(1);
                connection = None;
                drop(this);
                sleep(AGAIN).await;
            }
        }
    }
}

type Read = Vec<(Shard, Vec<(LogId, Option<Entry>)>)>;

async fn read(
    inner: &Inner,
    connection: &mut Connection,
    ends: &BTreeMap<Shard, LogId>,
) -> redis::RedisResult<Read> {
    let question = |ends: &[(Shard, LogId)], hold: bool| {
        let mut cmd = cmd("XREAD");
        cmd.arg("COUNT").arg(COUNT);
        if hold {
            cmd.arg("BLOCK").arg(HOLD.as_millis() as u64);
        }
        cmd.arg("STREAMS");
        for (shard, _) in ends {
            let [_, log, _] = inner.link.keys().shard(*shard);
            cmd.arg(log);
        }
        for (_, end) in ends {
            cmd.arg(end.to_string());
        }
        cmd
    };
    let all: Vec<(Shard, LogId)> = ends.iter().map(|(shard, end)| (*shard, *end)).collect();
    if !inner.link.server().is_cluster() {
        return Ok(answers(connection.query(&question(&all, true)).await?, &all, inner));
    }
    // In a cluster each log has a server of its own, and none may hold the others' questions.
    sleep(HOLD).await;
    let questions: Vec<Cmd> = all.iter().map(|one| question(&[*one], false)).collect();
    let asked = questions.iter().map(|cmd| {
        let mut connection = connection.clone();
        async move { connection.query::<Value>(cmd).await }
    });
    let mut read = Vec::new();
    for answer in join_all(asked).await {
        read.extend(answers(answer?, &all, inner));
    }
    Ok(read)
}

/// Reads `[[log, [[id, ["e", entry]], …]], …]`, or the same as a map.
fn answers(answer: Value, asked: &[(Shard, LogId)], inner: &Inner) -> Read {
    let logs: Vec<(Value, Value)> = match answer {
        Value::Map(logs) => logs,
        Value::Array(logs) => logs.into_iter().filter_map(pair).collect(),
        _ => Vec::new(),
    };
    let by_log: BTreeMap<String, Shard> = if logs.is_empty() {
        BTreeMap::new()
    } else {
        asked.iter().map(|(shard, _)| (inner.link.keys().shard(*shard)[1].clone(), *shard)).collect()
    };
    let entry = |value: Value| {
        let (id, fields) = pair(value)?;
        let id = LogId::parse(&redis::from_redis_value::<String>(id).ok()?)?;
        let fields: Vec<String> = redis::from_redis_value(fields).unwrap_or_default();
        Some((id, fields.get(1).and_then(|text| Entry::parse(text))))
    };
    let log = |(name, entries): (Value, Value)| {
        let shard = *by_log.get(&redis::from_redis_value::<String>(name).ok()?)?;
        let Value::Array(entries) = entries else { return None };
        Some((shard, entries.into_iter().filter_map(entry).collect()))
    };
    logs.into_iter().filter_map(log).collect()
}

fn pair(value: Value) -> Option<(Value, Value)> {
    let Value::Array(two) = value else { return None };
    let mut two = two.into_iter();
    Some((two.next()?, two.next()?))
}

/// What is looked at from time to time; instants are monotonic microseconds.
#[derive(Default)]
struct Looks {
    /// When gateways were looked at last.
    at: i64,
    incarnation: u64,
    /// Nobody is buried before: the roll was lost too.
    grace: i64,
    /// Shards of whose log something is missing.
    torn: BTreeSet<Shard>,
    /// Shards from which nobody was taken yet who may be gone, and when that is done.
    unsure: BTreeSet<Shard>,
    sure_at: i64,
}

impl Looks {
    async fn look(&mut self, inner: &Arc<Inner>) {
        let now = inner.link.monotonic().micros();
        let incarnation = inner.link.beats().borrow().incarnation;
        if self.incarnation != 0 && self.incarnation != incarnation {
            metrics::counter!("otaria_redis_follow_losses_total").increment(1);
            self.grace = now + GRACE;
            self.torn = inner.follower.state.lock().views.keys().copied().collect();
        }
        self.incarnation = incarnation;
        if !self.torn.is_empty() {
            // Perhaps the log was cut, perhaps all is lost, which is known only a moment later. Gateways
            // announce their devices then; who is there again in time has not been away.
            metrics::counter!("otaria_redis_follow_gaps_total").increment(self.torn.len() as u64);
            if renew(inner, &self.torn, true).await {
                self.unsure.append(&mut self.torn);
                self.sure_at = now + GRACE;
            }
        }
        if !self.unsure.is_empty() && self.sure_at <= now && renew(inner, &self.unsure, false).await {
            self.unsure.clear();
        }
        if now >= self.grace
            && now - self.at >= LOOK
            && let Ok(living) = inner.living().await
        {
            self.at = now;
            self.bury(inner, &living).await;
        }
    }

    async fn bury(&self, inner: &Inner, living: &BTreeSet<String>) {
        let buried = inner.follower.bury(living);
        let mut gone: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, gateway, devices) in &buried {
            *gone.entry(gateway).or_default() += devices.len() as u64;
        }
        for (gateway, devices) in gone {
            tracing::warn!(gateway, devices, "a gateway is gone; its devices count as offline");
            metrics::counter!("otaria_redis_buried_total").increment(devices);
        }
        // One that came back meanwhile has announced its devices, and they stay.
        let living =
            if buried.is_empty() { BTreeSet::new() } else { inner.living().await.unwrap_or_default() };
        for (shard, gateway, devices) in &buried {
            if living.contains(&**gateway) {
                continue;
            }
            // Then whoever reads the record need not ask who lives. If this fails, it has to.
            let doing = "taking out a dead gateway's devices";
            let of = (&**gateway, &devices[..]);
            let _ = inner.call_for::<u8>(&inner.scripts.leave, *shard, of, doing).await;
        }
    }
}

/// Reads shards anew; `false` if that has to be done again.
async fn renew(inner: &Arc<Inner>, shards: &BTreeSet<Shard>, keep: bool) -> bool {
    let shards: Vec<Shard> = shards.iter().copied().collect();
    for some in shards.chunks(super::AT_ONCE) {
        let moments = join_all(some.iter().map(|shard| moment(inner, *shard))).await;
        for (shard, moment) in some.iter().zip(moments) {
            match moment {
                Ok(moment) => inner.follower.renew(*shard, moment, keep),
                Err(_) => return false,
            }
        }
    }
    true
}
