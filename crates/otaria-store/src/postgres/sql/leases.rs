//! Members, shards, periodic work.
//!
//! Where the caller's instant is null, the database's clock counts.

macro_rules! now {
    ($caller:literal) => {
        concat!("coalesce(", $caller, "::bigint, (extract(epoch from clock_timestamp()) * 1000)::bigint)")
    };
}

/// Appends to `member`. $2: how long it stays.
pub(crate) const JOIN: &str =
    concat!("insert into member (expires_at) values (", now!("$1"), " + $2) returning id");

/// Rides on the primary key of `member`.
pub(crate) const RENEW: &str = concat!(
    "update member set expires_at = ",
    now!("$2"),
    " + $3 where id = $1 and expires_at > ",
    now!("$2")
);

/// Scans `member`: as many rows as there are processes.
pub(crate) const BURY: &str = concat!("delete from member where expires_at <= ", now!("$1"));

/// Scans `member`: as many rows as there are processes.
pub(crate) const MEMBERS: &str =
    concat!("select id from member where expires_at > ", now!("$1"), " order by id");

/// Rides on the primary key of `shard_lease`. Members count from 1: 0 is nobody.
pub(crate) const RELEASE: &str =
    "update shard_lease set member_id = 0 where member_id = $1 and shard = any($2)";

/// Rides on the primary key of `member`. Held, so that nobody buries it meanwhile.
pub(crate) const HOLD: &str =
    concat!("select id from member where id = $1 and expires_at > ", now!("$2"), " for share");

/// Rides on the primary keys of `shard_lease` and `member`. $1 is sorted.
pub(crate) const TAKE: &str = "
    insert into shard_lease (shard, member_id, epoch)
    select u.shard, $2, 1 from unnest($1::bigint[]) u (shard)
        on conflict (shard) do update set member_id = excluded.member_id, epoch = shard_lease.epoch + 1
     where not exists (select 1 from member m where m.id = shard_lease.member_id)
    returning shard, member_id, epoch, 1 as alive";

/// Rides on the primary keys of `shard_lease` and `member`.
pub(crate) const LEASES: &str = concat!(
    "select l.shard, l.member_id, l.epoch, coalesce(m.expires_at > ",
    now!("$1"),
    ", false)::int as alive
       from shard_lease l left join member m on m.id = l.member_id order by l.shard"
);

/// Rides on the primary key of `periodic_run`.
pub(crate) const BEGIN_RUN: &str = concat!(
    "insert into periodic_run (work, member_id, began_at) values ($1, $2, ",
    now!("$3"),
    ")
         on conflict (work) do update set member_id = excluded.member_id, began_at = excluded.began_at
      where periodic_run.began_at + $4 <= excluded.began_at"
);
