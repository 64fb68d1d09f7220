//! Nonces of signed requests.

use async_trait::async_trait;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::nonces::Nonces;
use otaria_ports::store::StoreError;
use sqlx::query;

use super::PostgresStore;
use crate::errors::failed;
use crate::sql::nonces as sql;

#[async_trait]
impl Nonces for PostgresStore {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let doing = "using a nonce";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let used = query(sql::USE).bind(key).bind(nonce).bind(now.millis()).bind(keep_until.millis());
                let used = used.execute(tx.conn()).await.map_err(failed(doing))?;
                Ok(used.rows_affected() == 1)
            })
        });
        work.await.map_err(unavailable(doing))
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        let doing = "forgetting nonces";
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let work = self.long_tx(doing, |tx| {
            Box::pin(async move {
                let forget = query(sql::FORGET).bind(now.millis()).bind(rows);
                let gone = forget.execute(tx.conn()).await.map_err(failed(doing))?;
                Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
            })
        });
        work.await.map_err(unavailable(doing))
    }
}

fn unavailable(doing: &'static str) -> impl Fn(StoreError) -> Unavailable {
    move |error| Unavailable { doing, source: Some(Box::new(error)) }
}
