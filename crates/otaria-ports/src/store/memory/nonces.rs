use async_trait::async_trait;
use otaria_core::time::Timestamp;

use super::MemoryStore;
use crate::Unavailable;
use crate::nonces::Nonces;
use crate::store::StoreError;

#[async_trait]
impl Nonces for MemoryStore {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let doing = "using a nonce";
        let used = self.transact(doing, |tables| {
            let name = (key.to_owned(), nonce.to_owned());
            let is_kept = tables.nonces.get(&name).is_some_and(|until| *until > now);
            if !is_kept {
                tables.nonces.insert(name, keep_until);
            }
            Ok(!is_kept)
        });
        used.map_err(unavailable(doing))
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        let doing = "forgetting nonces";
        let forgotten = self.transact(doing, |tables| {
            let old: Vec<_> = tables.nonces.iter().filter(|(_, until)| **until <= now).take(limit).collect();
            let old: Vec<_> = old.into_iter().map(|(name, _)| name.clone()).collect();
            for name in &old {
                tables.nonces.remove(name);
            }
            Ok(old.len())
        });
        forgotten.map_err(unavailable(doing))
    }
}

fn unavailable(doing: &'static str) -> impl Fn(StoreError) -> Unavailable {
    move |error| Unavailable { doing, source: Some(Box::new(error)) }
}
