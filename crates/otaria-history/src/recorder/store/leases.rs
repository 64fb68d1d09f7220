//! Leases: taken by this process, or found taken by another one.

use std::sync::PoisonError;
use std::time::Duration;

use otaria_core::shard::Shard;
use otaria_core::time::Timestamp;
use otaria_ports::store::{Leases, Member, ShardLease, StoreError};

use super::{RecordedStore, forward};
use crate::record::Fact;
use crate::writer::{Draft, not_after, not_before};

impl RecordedStore {
    /// Tells of leases that are news. Every owner reads them all again and again, so what a process took and could
    /// not tell, because it was killed or its answer was lost, is told by others, and a little later.
    fn tell_leases(&self, from: Timestamp, leases: &[ShardLease]) {
        let (from, at) = (not_before(from), not_after(self.history.now()));
        let mut told = self.epochs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        // A row without a living owner may be that of a shard that was given up: it names nobody then.
        for ShardLease { shard, member, epoch, .. } in leases.iter().filter(|lease| lease.alive) {
            let known = told.entry(*shard).or_insert(i64::MIN);
            if *known < *epoch {
                *known = *epoch;
                let fact = Fact::Lease { shard: shard.0, epoch: *epoch, member: member.0 };
                news.push(Draft { from, at, fact });
            }
        }
        drop(told);
        self.history.tell(news.into_iter());
    }
}

forward! { Leases {
    async fn take_shards(
        &self,
        member: Member,
        shards: &[Shard],
        now: Timestamp,
    ) -> Result<Vec<ShardLease>, StoreError> {
        let from = self.history.now();
        let taken = self.inner.take_shards(member, shards, now).await?;
        self.tell_leases(from, &taken);
        Ok(taken)
    }

    async fn shard_leases(&self, now: Timestamp) -> Result<Vec<ShardLease>, StoreError> {
        let from = self.history.now();
        let leases = self.inner.shard_leases(now).await?;
        self.tell_leases(from, &leases);
        Ok(leases)
    }
}
    fn join(&self, now: Timestamp, ttl: Duration) -> Member;
    fn renew(&self, member: Member, now: Timestamp, ttl: Duration) -> bool;
    fn members(&self, now: Timestamp) -> Vec<Member>;
    fn leave(&self, member: Member) -> ();
    fn release_shards(&self, member: Member, shards: &[Shard]) -> ();
    fn begin_run(&self, work: &'static str, member: Member, now: Timestamp, period: Duration) -> bool;
}
