//! Members, shards, periodic work.

/// Appends to `member`.
pub(crate) const JOIN: &str = "insert into member (expires_at) values ($1) returning id";

/// Rides on the primary key of `member`.
pub(crate) const RENEW: &str = "update member set expires_at = $2 where id = $1 and expires_at > $3";

/// Scans `member`: as many rows as there are processes.
pub(crate) const MEMBERS: &str = "select id from member where expires_at > $1 order by id";

/// Rides on the primary key of `shard_lease`. Members count from 1: 0 is nobody.
pub(crate) const RELEASE: &str = "
    update shard_lease set member_id = 0 where member_id = $1 and shard in (select value from json_each($2))";

/// Rides on the primary key of `member`.
pub(crate) const LEAVE: &str = "delete from member where id = $1";

/// Scans `member`: as many rows as there are processes.
pub(crate) const BURY: &str = "delete from member where expires_at <= $1";

/// Rides on the primary keys of `shard_lease` and `member`.
pub(crate) const TAKE: &str = "
    insert into shard_lease (shard, member_id, epoch)
    select j.value, $2, 1 from json_each($1) j where exists (select 1 from member where id = $2)
        on conflict (shard) do update set member_id = excluded.member_id, epoch = shard_lease.epoch + 1
     where not exists (select 1 from member m where m.id = shard_lease.member_id)
    returning shard, member_id, epoch, 1 as alive";

/// Rides on the primary keys of `shard_lease` and `member`.
pub(crate) const LEASES: &str = "
    select l.shard, l.member_id, l.epoch, coalesce(m.expires_at > $1, 0) as alive
      from shard_lease l left join member m on m.id = l.member_id order by l.shard";

/// Rides on the primary key of `periodic_run`.
pub(crate) const BEGIN_RUN: &str = "
    insert into periodic_run (work, member_id, began_at) values ($1, $2, $3)
        on conflict (work) do update set member_id = excluded.member_id, began_at = excluded.began_at
     where periodic_run.began_at + $4 <= excluded.began_at";
