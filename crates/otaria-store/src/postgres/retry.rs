//! What may be tried again, and when.
//!
//! Every call of the store is safe to repeat, so all that was not committed is. Not repeated is a commit of
//! which nobody knows whether it happened: the caller hears `Unavailable`, and decides.

use std::sync::atomic::Ordering;
use std::time::Duration;

use otaria_ports::store::StoreError;
use sqlx::Error;
use sqlx::error::DatabaseError;

use super::PostgresStore;

/// The first wait, and the longest one.
const WAITS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(250));

/// How long a call has waited between its tries.
#[derive(Default)]
pub(super) struct Tries {
    waited: Duration,
    last: Duration,
}

impl PostgresStore {
    /// Waits before the next try; `false` when there is none.
    pub(super) async fn again(&self, tries: &mut Tries, error: &StoreError) -> bool {
        if !may_pass(error) || tries.waited >= self.options.patience {
            return false;
        }
        let longest = (tries.last * 2).clamp(WAITS.0, WAITS.1);
        let wait = longest.mul_f64(0.5 + 0.5 * self.chance());
        tries.last = longest;
        tries.waited += wait;
        tokio::time::sleep(wait).await;
        true
    }

    /// A number from 0 to 1 that differs from call to call.
    fn chance(&self) -> f64 {
        let mut n = self.jitter.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from(n >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

/// Somebody wrote between a look and a write of this transaction.
#[derive(Debug)]
struct Raced;

impl std::fmt::Display for Raced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("somebody else wrote meanwhile")
    }
}

impl std::error::Error for Raced {}

/// What work answers when a compare-and-set of its own shows that it decided on rows that have moved: it is
/// run again from the beginning.
pub(crate) fn raced(doing: &'static str) -> StoreError {
    StoreError::Unavailable { doing, source: Box::new(Raced) }
}

/// Whether the same work may succeed a moment later.
fn may_pass(error: &StoreError) -> bool {
    let StoreError::Unavailable { source, .. } = error else { return false };
    let of_database = |error: &Error| is_raced(error) || is_lost(error);
    source.is::<Raced>() || source.downcast_ref::<Error>().is_some_and(of_database)
}

/// Somebody else was in the way: a deadlock's victim, a serialization failure, a lock that was not given in
/// time; or a key that somebody else used (or a row that somebody else removed) between a look and a write.
/// The server has rolled the transaction back, or will.
pub(super) fn is_raced(error: &Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "40001" | "40P01" | "55P03" | "23505" | "23503"))
}

/// The connection is gone, or leads to a server that went down or is no longer the one that writes.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Io(_) => true,
        Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "57P01" | "57P02" | "57P03" | "25006" | "53300")
        }),
        _ => false,
    }
}
