//! Request nonces: each may be used once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use otaria_core::time::Timestamp;

use crate::Unavailable;

/// Remembers nonces until they may be forgotten.
#[async_trait]
pub trait Nonces: Send + Sync {
    /// Notes `nonce` of `key` until `keep_until`; `false` when it was noted before and is still kept.
    /// Of two calls at the same time exactly one is answered `true`.
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable>;

    /// Forgets nonces that are kept no longer, at most `limit`; how many. Nothing depends on when, or
    /// whether, it is called.
    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable>;
}

/// Nonces of one process. Forgets at restart: a store-backed one stands behind the HTTP face.
#[derive(Debug, Default)]
pub struct LocalNonces(Mutex<HashMap<(String, String), Timestamp>>);

/// Beyond this many nonces, what has expired is dropped before another is noted.
const PRUNE_ABOVE: usize = 100_000;

#[async_trait]
impl Nonces for LocalNonces {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= PRUNE_ABOVE {
            kept.retain(|_, until| *until > now);
        }
        let name = (key.into(), nonce.into());
        if kept.get(&name).is_some_and(|until| *until > now) {
            return Ok(false);
        }
        kept.insert(name, keep_until);
        Ok(true)
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut forgotten = 0;
        kept.retain(|_, until| {
            let stays = *until > now || forgotten >= limit;
            forgotten += usize::from(!stays);
            stays
        });
        Ok(forgotten)
    }
}

/// Holds for every [`Nonces`].
pub mod contract {
    use super::{Nonces, Timestamp};

    /// A nonce is good once per key, and again when it may be forgotten; a refused repeat keeps it no longer.
    pub async fn a_nonce_is_good_once<N: Nonces + ?Sized>(nonces: &N) {
        let at = Timestamp::from_millis;
        assert!(nonces.use_once("key-a", "n1", at(0), at(100)).await.unwrap());
        assert!(!nonces.use_once("key-a", "n1", at(50), at(150)).await.unwrap());
        assert!(nonces.use_once("key-b", "n1", at(50), at(150)).await.unwrap());
        assert!(nonces.use_once("key-a", "n2", at(50), at(150)).await.unwrap());
        assert!(nonces.use_once("key-a", "n1", at(100), at(20_000)).await.unwrap());
    }

    /// What may be forgotten goes, a bounded number at a time, and nothing else does.
    pub async fn only_old_nonces_are_forgotten<N: Nonces + ?Sized>(nonces: &N) {
        let at = Timestamp::from_millis;
        for nonce in ["n1", "n2", "n3"] {
            assert!(nonces.use_once("key-a", nonce, at(0), at(100)).await.unwrap());
        }
        assert!(nonces.use_once("key-a", "n4", at(0), at(101)).await.unwrap());
        assert_eq!(nonces.forget_nonces(at(99), 10).await.unwrap(), 0);
        assert_eq!(nonces.forget_nonces(at(100), 2).await.unwrap(), 2);
        assert_eq!(nonces.forget_nonces(at(100), 2).await.unwrap(), 1);
        assert_eq!(nonces.forget_nonces(at(100), 2).await.unwrap(), 0);
        assert!(!nonces.use_once("key-a", "n4", at(100), at(200)).await.unwrap());
        assert!(nonces.use_once("key-a", "n1", at(100), at(200)).await.unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn the_local_one_keeps_the_contract() {
        contract::a_nonce_is_good_once(&LocalNonces::default()).now_or_never().unwrap();
        contract::only_old_nonces_are_forgotten(&LocalNonces::default()).now_or_never().unwrap();
    }
}
