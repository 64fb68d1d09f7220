//! Who owns which shard, and who runs what is periodic.
//!
//! Invariant: shards are taken over one process after the other, each seeing what the one before it took. A
//! claim holds its leases while it writes, so a take-over waits for it, and what comes later sees the new
//! epoch.

use std::time::Duration;

use async_trait::async_trait;
use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Leases, Member, ShardLease, StoreError};
use sqlx::{query, query_scalar};

use super::sql::leases as sql;
use super::{Lock, PgTx, PostgresStore};
use crate::errors::failed;
use crate::rows::{self, Of};
use crate::sql::leases::LEAVE;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Leases for PostgresStore {
    async fn join(&self, now: Timestamp, ttl: Duration) -> Result<Member, StoreError> {
        let (doing, now) = ("joining", self.now(now));
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let id = query_scalar(sql::JOIN).bind(now).bind(millis(ttl)).fetch_one(tx.conn()).await;
                id.map(Member).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn renew(&self, member: Member, now: Timestamp, ttl: Duration) -> Result<bool, StoreError> {
        let (doing, now) = ("renewing a membership", self.now(now));
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let renew = query(sql::RENEW).bind(member.0).bind(now).bind(millis(ttl));
                let renewed = renew.execute(tx.conn()).await.map_err(failed(doing))?;
                Ok(renewed.rows_affected() == 1)
            })
        });
        work.await
    }

    async fn members(&self, now: Timestamp) -> Result<Vec<Member>, StoreError> {
        let now = self.now(now);
        let members = self.rows("reading members", || query(sql::MEMBERS).bind(now)).await?;
        members.iter().map(|row| Of { table: "member", row }.get("id").map(Member)).collect()
    }

    async fn release_shards(&self, member: Member, shards: &[Shard]) -> Result<(), StoreError> {
        let doing = "releasing shards";
        let set = &sorted(shards);
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let released = query(sql::RELEASE).bind(member.0).bind(set).execute(tx.conn()).await;
                released.map(drop).map_err(failed(doing))
            })
        });
        work.await
    }

    async fn leave(&self, member: Member) -> Result<(), StoreError> {
        let doing = "leaving";
        let work = self.tx(doing, |tx| {
            Box::pin(async move {
                let left = query(LEAVE).bind(member.0).execute(tx.conn()).await;
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
        let now = self.now(now);
        let set = &sorted(shards);
        let work = self.tx("taking shards", |tx| Box::pin(async move { take(tx, member, set, now).await }));
        work.await
    }

    async fn shard_leases(&self, now: Timestamp) -> Result<Vec<ShardLease>, StoreError> {
        let now = self.now(now);
        let leases = self.rows("reading leases", || query(sql::LEASES).bind(now)).await?;
        leases.iter().map(rows::shard_lease).collect()
    }

    async fn begin_run(
        &self,
        work: &'static str,
        member: Member,
        now: Timestamp,
        period: Duration,
    ) -> Result<bool, StoreError> {
        let (doing, now) = ("beginning periodic work", self.now(now));
        let begin = self.tx(doing, |tx| {
            Box::pin(async move {
                let begin = query(sql::BEGIN_RUN).bind(work).bind(member.0).bind(now).bind(millis(period));
                let began = begin.execute(tx.conn()).await.map_err(failed(doing))?;
                Ok(began.rows_affected() == 1)
            })
        });
        begin.await
    }
}

fn sorted(shards: &[Shard]) -> Vec<i64> {
    let mut set: Vec<i64> = shards.iter().map(|shard| i64::from(shard.0)).collect();
    set.sort_unstable();
    set.dedup();
    set
}

async fn take(
    tx: &mut PgTx<'_>,
    member: Member,
    shards: &[i64],
    now: Option<i64>,
) -> Result<Vec<ShardLease>, StoreError> {
    let unavailable = failed("taking shards");
    // A member that joined and took shards while this statement waited would not be seen otherwise.
    tx.lock(Lock::Shards).await?;
    // Whoever ran out loses everything at once, and hears of it at the next renewal.
    query(sql::BURY).bind(now).execute(tx.conn()).await.map_err(unavailable)?;
    let held = query(sql::HOLD).bind(member.0).bind(now).fetch_optional(tx.conn()).await;
    if held.map_err(unavailable)?.is_none() {
        return Ok(Vec::new());
    }
    let taken = query(sql::TAKE).bind(shards).bind(member.0).fetch_all(tx.conn()).await;
    let mut taken: Vec<_> =
        taken.map_err(unavailable)?.iter().map(rows::shard_lease).collect::<Result<_, _>>()?;
    taken.sort_unstable_by_key(|lease| lease.shard);
    Ok(taken)
}
