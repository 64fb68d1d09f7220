//! Tasks: reading and moving.
//!
//! Rows that are written are found first, by their key, and then addressed by their place in the table (`ctid`):
//! they are locked by then, and a locked row does not move.

macro_rules! task {
    ($before:literal, $rest:literal) => {
        concat!(
            "select ", $before,
            "t.id, t.device_id, t.module, t.status, t.revision, t.created_at,
             t.src_version, t.cause, t.modified_at, t.attempts, t.offered_at, t.delivery, t.delivery_at,
             t.deadline_at, t.retry_at, t.percent, t.notices, coalesce(t.report_session, 0) as report_session,
             coalesce(t.report_n, 0) as report_n, t.words ",
            $rest
        )
    };
}

/// Rides on `task_open (device_id, module) where open`.
pub(crate) const OPEN: &str = task!(
    "",
    "from unnest($1::bigint[]) d (device)
     cross join lateral (select * from task where device_id = d.device and open offset 0) t"
);

/// Rides on the primary keys of `task`, `job` and `firmware`. $2: how many of a device's tasks to look at.
pub(crate) const ENDED_OFFERS: &str = "
    select t.device_id, t.module, f.dest_version, case when t.status = 4 then t.modified_at end as succeeded_at
      from unnest($1::bigint[]) d (device)
     cross join lateral (select device_id, job_no, module, status, attempts, modified_at from task
                          where device_id = d.device order by job_no desc limit $2) t
     cross join lateral (select firmware_no from job where no = t.job_no offset 0) j
     cross join lateral (select dest_version from firmware where no = j.firmware_no offset 0) f
     where t.status = 4 or (t.status in (5, 6) and t.attempts > 0)";

/// Rides on `task_place (id)`.
pub(crate) const BY_ID: &str = task!(
    "",
    "from unnest($1::bigint[]) d (id) cross join lateral (select * from task where id = d.id offset 0) t"
);

/// Rides on `task_due_at (shard, due_at)` and the primary key of `task`. $4: rows to look at of each shard; what
/// is later than the last one that was looked at in some shard has to wait, lest an earlier one is passed over.
pub(crate) const DUE: &str = task!(
    "",
    "from (with looked as materialized (
               select c.device_id, c.job_no, c.due_at, s.shard
                 from unnest($1::smallint[]) s (shard)
                cross join lateral (select device_id, job_no, due_at from task_due
                                     where shard = s.shard and due_at <= $2 order by due_at limit $4) c
           ), cut as (
               select min(g.last) as at
                 from (select max(due_at) as last, count(*) as n from looked group by shard) g
                where g.n = $4
           )
           select device_id, job_no, due_at from looked
            where due_at <= coalesce((select at from cut), $2)
            order by due_at, device_id limit $3) c
     cross join lateral (select * from task
                          where device_id = c.device_id and job_no = c.job_no offset 0) t
     order by c.due_at, c.device_id"
);

/// Rides on `task_due_at (shard, due_at)`.
pub(crate) const NEXT_DUE: &str = "
    select min(c.due_at) as due_at
      from unnest($1::smallint[]) s (shard)
     cross join lateral (select due_at from task_due where shard = s.shard order by due_at limit 1) c";

/// Rides on the primary key of `task`. Locks tasks in their order and says where they stand. $1, $2: devices,
/// jobs.
pub(crate) const STAND: &str = "
    select d.place, t.id, t.revision, t.status
      from unnest($1::bigint[], $2::bigint[]) with ordinality d (device, job, place)
     cross join lateral (select id, revision, status from task
                          where device_id = d.device and job_no = d.job offset 0 for update) t";

/// Rides on the primary keys of `shard_lease` and `member`. What of them is taken over waits for the end of
/// this transaction; in the order of shards, as who takes them over locks them.
pub(crate) const EPOCHS: &str = "
    select l.shard, l.epoch
      from unnest($2::smallint[]) s (shard)
     cross join lateral (select shard, epoch from shard_lease
                          where shard = s.shard and member_id = $1 offset 0 for share) l
     where exists (select 1 from member where id = $1)";

/// Rides on the primary key of `job`. Whoever pauses, cancels or ends one of them waits for the end of this
/// transaction.
pub(crate) const DELIVERING: &str = "
    select j.no, j.status, j.kind, j.cancel_mask from job j where j.no = any ($1) order by j.no for share of j";

/// Rides on `task_open (device_id, module) where open`. Of other tasks than these that are open at the same
/// devices: place, job, whether the module is the same. $1, $2: devices, jobs.
pub(crate) const OPEN_BESIDE: &str = "
    select d.place, t.job_no, (t.module = o.module)::int as same_module
      from unnest($1::bigint[], $2::bigint[]) with ordinality d (device, job, place)
     cross join lateral (select module from task where device_id = d.device and job_no = d.job offset 0) o
     cross join lateral (select job_no, module from task where device_id = d.device and open offset 0) t
     where t.job_no <> d.job";

/// Rides on `task_place (id)`, where a job's tasks lie together however many others there are, and on the primary key
/// of `task_due`. Tasks that are still in the revision that was seen, and their clocks; answers where those stood. $1: now; $2: whether ended ones may be opened; $3, $4: devices and jobs, in
/// the order in which they are locked; $7: statuses that are left alone, as bits.
///
/// Compare-and-set in one look at each row. Who moved one meanwhile grew its revision, so what was waited for does
/// not fit any more; and clocks move under the lock of their task, so one that was not there is not there.
pub(crate) const MOVE: &str = "
    with c as materialized (
        select * from unnest($3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                             $8::smallint[], $9::boolean[], $10::smallint[], $11::bigint[], $12::smallint[],
                             $13::bigint[], $14::bigint[], $15::bigint[], $16::smallint[], $17::smallint[],
                             $18::bigint[], $19::bigint[], $20::bigint[], $21::integer[], $22::text[])
            with ordinality
            as c (device, job, id, revision, held, status, open, attempts, offered_at, delivery, delivery_at,
                  deadline_at, retry_at, percent, cause, due_at, session, n, notices, words, place)
    ), moved as (
        update task t
           set status = c.status, open = c.open, attempts = c.attempts, offered_at = c.offered_at,
               delivery = c.delivery, delivery_at = c.delivery_at, deadline_at = c.deadline_at,
               retry_at = c.retry_at, percent = c.percent, cause = c.cause,
               report_session = coalesce(c.session, t.report_session),
               report_n = coalesce(c.n, t.report_n), notices = t.notices + c.notices,
               words = coalesce(c.words, t.words), revision = t.revision + 1, modified_at = $1
          from (select c.*, x.at, x.status as old_status, x.attempts as old_attempts,
                       x.percent as old_percent, x.words as old_words
                  from c
                 cross join lateral (select ctid as at, device_id, job_no, revision, status, open, attempts,
                                            percent, words
                                       from task where id = c.id offset 0) x
                 where x.device_id = c.device and x.job_no = c.job and x.revision = c.revision
                   and (x.open or not c.open or $2) and (c.held >> x.status) & 1 = 0) c
         where t.ctid = c.at and t.revision = c.revision
        returning c.place, c.device, c.job, c.due_at, c.old_status, c.old_attempts, c.old_percent, c.old_words
    ), clock as materialized (
        select m.device, m.job, m.due_at, d.at
          from moved m
          left join lateral (select ctid as at from task_due
                              where device_id = m.device and job_no = m.job offset 0) d on true
    ), stopped as (
        delete from task_due t using clock k where k.due_at is null and t.ctid = k.at
    ), set_anew as (
        update task_due t set due_at = k.due_at from clock k where k.due_at is not null and t.ctid = k.at
    ), begun as (
        insert into task_due (device_id, job_no, due_at, shard)
        select k.device, k.job, k.due_at, (k.device >> 48)::smallint
          from clock k where k.at is null and k.due_at is not null
    )
    select place, old_status as status, old_attempts as attempts, old_percent as percent, old_words as words
      from moved";

/// Rides on the primary key of `task`. Places of those that have ended in this revision. $1, $2, $3: devices, jobs,
/// revisions.
pub(crate) const ENDED: &str = "
    select d.place
      from unnest($1::bigint[], $2::bigint[], $3::bigint[]) with ordinality d (device, job, revision, place)
     cross join lateral (select open, revision from task
                          where device_id = d.device and job_no = d.job offset 0) t
     where not t.open and t.revision = d.revision";

/// Rides on the primary key of `task`. Locks those that are open still. $1, $2: devices, jobs.
pub(crate) const LOCK_OPEN: &str = "
    select t.device_id, t.job_no, t.id, t.status, t.attempts, t.revision
      from unnest($1::bigint[], $2::bigint[]) d (device, job)
     cross join lateral (select device_id, job_no, id, status, attempts, revision from task
                          where device_id = d.device and job_no = d.job and open offset 0 for update) t";

/// Rides on the primary keys of `task` and `task_due`. $1, $2: devices, jobs; $3: the cause; $4: when.
pub(crate) const CANCEL: &str = "
    with c as materialized (select * from unnest($1::bigint[], $2::bigint[]) as c (device, job)),
    stopped as (
        delete from task_due t
         using (select x.at from c
                 cross join lateral (select ctid as at from task_due
                                      where device_id = c.device and job_no = c.job offset 0) x) c
         where t.ctid = c.at
    )
    update task t
       set status = 6, open = false, cause = $3, revision = revision + 1, modified_at = $4, delivery = null,
           delivery_at = null, deadline_at = null, retry_at = null, percent = null, offered_at = null
      from (select x.at from c
             cross join lateral (select ctid as at from task
                                  where device_id = c.device and job_no = c.job offset 0) x) c
     where t.ctid = c.at";

/// Rides on `task_place (id)` and the primary keys of `device` and `device_gone`. $1, $2: after and up to which
/// id; $3: a status or null; $4: tasks to look at; $5: tasks to return.
pub(crate) const PAGE: &str = task!(
    "coalesce(d.name, g.name) as name, ",
    "from (select * from task where id > $1 and id <= $2 order by id limit $4) t
     left join lateral (select id, name from device where id = t.device_id offset 0) d on true
     left join lateral (select name from device_gone where d.id is null and id = t.device_id offset 0) g on true
     where ($3::bigint is null or t.status = $3)
     order by t.id limit $5"
);

/// Rides on `task_place (id)`. The last of so many tasks, and how many there are.
pub(crate) const LOOKED: &str = "
    select max(id) as id, count(*) as n
      from (select id from task where id > $1 and id <= $2 order by id limit $3) t";

/// Rides on `device_name (product_no, name)`, `device_gone_name (product_no, name)` and the primary key of
/// `task`. $1: names; $2: the job; $3: after which id; $4: a status or null.
pub(crate) const PAGE_OF: &str = task!(
    "d.name, ",
    "from (select d.id, d.name from unnest($1::text[]) n (name)
            cross join lateral (select id, name from device
                                 where product_no = (select product_no from job where no = $2)
                                   and name = n.name offset 0) d
            union all
           select g.id, g.name from unnest($1::text[]) n (name)
            cross join lateral (select id, name from device_gone
                                 where product_no = (select product_no from job where no = $2)
                                   and name = n.name offset 0) g) d
     cross join lateral (select * from task where device_id = d.id and job_no = $2 offset 0) t
     where t.id > $3 and ($4::bigint is null or t.status = $4)
     order by t.id limit $5"
);

/// Rides on nothing: the table of locks. What opens tasks of a shard's devices takes its lock, in the order of
/// shards.
pub(crate) const LOCK_SHARDS: &str =
    "select pg_advisory_xact_lock(shard) from unnest($1::bigint[]) s (shard)";
