//! Nonces of signed requests.

use async_trait::async_trait;
use otaria_core::time::Timestamp;
use otaria_ports::Unavailable;
use otaria_ports::nonces::Nonces;
use otaria_ports::store::StoreError;
use sqlx::query;

use crate::sql::nonces as sql;
use crate::sqlite::errors::failed;
use crate::sqlite::{Lane, SqliteStore};

#[async_trait]
impl Nonces for SqliteStore {
    async fn use_once(
        &self,
        key: &str,
        nonce: &str,
        now: Timestamp,
        keep_until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let doing = "using a nonce";
        let (key, nonce) = (key.to_owned(), nonce.to_owned());
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let used = query(sql::USE).bind(key).bind(nonce).bind(now.millis()).bind(keep_until.millis());
                let used = used.execute(&mut tx.conn).await.map_err(failed(doing))?;
                Ok(used.rows_affected() == 1)
            })
        });
        work.await.map_err(unavailable(doing))
    }

    async fn forget_nonces(&self, now: Timestamp, limit: usize) -> Result<usize, Unavailable> {
        let doing = "forgetting nonces";
        let rows = i64::try_from(limit).unwrap_or(i64::MAX);
        let work = self.writer.run(Lane::Api, limit, doing, move |tx| {
            Box::pin(async move {
                let forget = query(sql::FORGET).bind(now.millis()).bind(rows);
                let gone = forget.execute(&mut tx.conn).await.map_err(failed(doing))?;
                Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
            })
        });
        work.await.map_err(unavailable(doing))
    }
}

fn unavailable(doing: &'static str) -> impl Fn(StoreError) -> Unavailable {
    move |error| Unavailable { doing, source: Some(Box::new(error)) }
}
