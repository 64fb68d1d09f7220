//! Who owns which shard, and who runs what is periodic.

use std::time::Duration;

use async_trait::async_trait;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Leases, Member, ShardLease, StoreError};
use sqlx::{query, query_scalar};

use crate::rows::{self, Of};
use crate::sql::leases as sql;
use crate::sqlite::errors::failed;
use crate::sqlite::{Lane, SqliteStore};
use crate::text;

#[async_trait]
impl Leases for SqliteStore {
    async fn join(&self, now: Timestamp, ttl: Duration) -> Result<Member, StoreError> {
        let doing = "joining";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let id = query_scalar(sql::JOIN).bind((now + ttl).millis()).fetch_one(&mut tx.conn).await;
                id.map(Member).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn renew(&self, member: Member, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        let doing = "renewing a membership";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let renew = query(sql::RENEW).bind(member.0).bind((now + ttl).millis()).bind(now.millis());
                let renewed = renew.execute(&mut tx.conn).await.map_err(failed(doing))?;
                Ok(renewed.rows_affected() == 1)
            })
        });
        work.await
    }

    async fn members(&self, now: Timestamp) -> Result<Vec<Member>, StoreError> {
        let members = self.rows("reading members", query(sql::MEMBERS).bind(now.millis())).await?;
        let member = |row| Of { table: "member", row }.get("id").map(Member);
        members.iter().map(member).collect()
    }

    async fn release_shards(&self, member: Member, shards: &[Shard]) -> Result<(), StoreError> {
        let doing = "releasing shards";
        let set = text::numbers(shards.iter().map(|shard| i64::from(shard.0)));
        let work = self.writer.run(Lane::Api, shards.len(), doing, move |tx| {
            Box::pin(async move {
                let released = query(sql::RELEASE).bind(member.0).bind(set).execute(&mut tx.conn).await;
                released.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn leave(&self, member: Member) -> Result<(), StoreError> {
        let doing = "leaving";
        let work = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let left = query(sql::LEAVE).bind(member.0).execute(&mut tx.conn).await;
                left.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn take_shards(
        &self,
        member: Member,
        shards: &[Shard],
        now: Timestamp,
    ) -> Result<Vec<ShardLease>, StoreError> {
        let doing = "taking shards";
        let mut shards = shards.to_vec();
        shards.sort_unstable();
        shards.dedup();
        let set = text::numbers(shards.iter().map(|shard| i64::from(shard.0)));
        let work = self.writer.run(Lane::Api, shards.len(), doing, move |tx| {
            Box::pin(async move {
                // Whoever ran out loses everything at once, and hears of it at the next renewal.
                query(sql::BURY).bind(now.millis()).execute(&mut tx.conn).await.map_err(failed(doing))?;
                let take = query(sql::TAKE).bind(set).bind(member.0).fetch_all(&mut tx.conn).await;
                let mut taken: Vec<_> =
                    take.map_err(failed(doing))?.iter().map(rows::shard_lease).collect::<Result<_, _>>()?;
                taken.sort_unstable_by_key(|lease| lease.shard);
                Ok(taken)
            })
        });
        work.await
    }

    async fn shard_leases(&self, now: Timestamp) -> Result<Vec<ShardLease>, StoreError> {
        let leases = self.rows("reading leases", query(sql::LEASES).bind(now.millis())).await?;
        leases.iter().map(rows::shard_lease).collect()
    }

    async fn begin_run(
        &self,
        work: &'static str,
        member: Member,
        now: Timestamp,
        period: Duration,
    ) -> Result<bool, StoreError> {
        let doing = "beginning periodic work";
        let period = i64::try_from(period.as_millis()).unwrap_or(i64::MAX);
        let begin = self.writer.run(Lane::Api, 1, doing, move |tx| {
            Box::pin(async move {
                let begin = query(sql::BEGIN_RUN).bind(work).bind(member.0).bind(now.millis()).bind(period);
                let began = begin.execute(&mut tx.conn).await.map_err(failed(doing))?;
                Ok(began.rows_affected() == 1)
            })
        });
        begin.await
    }
}
