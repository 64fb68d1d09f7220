//! Tasks: reading and moving.

macro_rules! task {
    ($before:literal, $rest:literal) => {
        concat!(
            "select ", $before,
            "t.id, t.device_id, t.module, t.status, t.revision, t.created_at, t.src_version, t.cause,
             t.modified_at, t.attempts, t.offered_at, t.delivery, t.delivery_at, t.deadline_at, t.retry_at,
             t.percent, t.notices, t.report_session, t.report_n, t.words ",
            $rest
        )
    };
}

/// Rides on `task_open (device_id, module) where open = 1`.
pub(crate) const OPEN: &str = task!(
    "",
    "from json_each($1) j cross join task t indexed by task_open
     where t.device_id = j.value and t.open = 1"
);

/// Rides on `task_device (device_id, id >> 32)` and the primary keys of `job` and `firmware`. $2: how many of a
/// device's tasks to look at.
pub(crate) const ENDED_OFFERS: &str = "
    select t.device_id, t.module, f.dest_version, case when t.status = 4 then t.modified_at end as succeeded_at
      from json_each($1) a
     cross join task t
     cross join job j on j.no = t.id >> 32
     cross join firmware f on f.no = j.firmware_no
     where t.id in (select id from task indexed by task_device
                     where device_id = a.value order by id >> 32 desc limit $2)
       and (t.status = 4 or (t.status in (5, 6) and t.attempts > 0))";

/// Rides on the primary key of `task`.
pub(crate) const BY_ID: &str =
    task!("", "from json_each($1) j cross join task t where t.id = j.value order by t.device_id, t.id");

/// Rides on `task_due (due_at) where due_at is not null`; one task writes, so the shard needs no place in
/// the index, and a new deadline goes to its end. $3: whether all shards are meant.
pub(crate) const DUE: &str = task!(
    "",
    "from task t
     where t.due_at is not null and t.due_at <= $2
       and ($3 = 1 or (t.device_id >> 48) in (select value from json_each($1)))
     order by t.due_at limit $4"
);

/// Rides on `task_due (due_at) where due_at is not null`.
pub(crate) const NEXT_DUE: &str = "
    select due_at from task
     where due_at is not null and ($2 = 1 or (device_id >> 48) in (select value from json_each($1)))
     order by due_at limit 1";

/// Rides on the primary key of `task`. Lines of: place in $1, device, revision, status, attempts, percent
/// or -1.
pub(crate) const STAND: &str = "
    select group_concat(j.key || ' ' || t.device_id || ' ' || t.revision || ' ' || t.status || ' ' ||
                        t.attempts || ' ' || coalesce(t.percent, -1), char(10))
      from json_each($1) j cross join task t where t.id = j.value";

/// Rides on the primary keys of `shard_lease` and `member`. Lines of: shard, epoch.
pub(crate) const EPOCHS: &str = "
    select group_concat(shard || ' ' || epoch, char(10)) from shard_lease
     where member_id = $1 and shard in (select value from json_each($2))
       and exists (select 1 from member where id = $1)";

/// Rides on the primary key of `job`. Lines of: job, status, kind, statuses that are being cancelled.
pub(crate) const DELIVERING: &str = "
    select group_concat(no || ' ' || status || ' ' || kind || ' ' || cancel_mask, char(10)) from job
     where no in (select value from json_each($1))";

/// Rides on `task_open (device_id, module) where open = 1`. Of other tasks than $1 that are open at the same
/// devices, lines of: place in $1, job, whether the module is the same.
pub(crate) const OPEN_BESIDE: &str = "
    select group_concat(j.key || ' ' || (t.id >> 32) || ' ' || (t.module = o.module), char(10))
      from json_each($1) j cross join task o cross join task t indexed by task_open
     where o.id = j.value and t.device_id = o.device_id and t.open = 1 and t.id <> o.id";

/// Rides on the primary key of `task`. $1 holds arrays: id, status, open, attempts, offered_at, delivery,
/// delivery_at, deadline_at, retry_at, percent, cause, due_at, session, number, notices, words.
pub(crate) const MOVE: &str = "
    update or fail task
       set status = c.v ->> 1, open = c.v ->> 2, attempts = c.v ->> 3, offered_at = c.v ->> 4,
           delivery = c.v ->> 5, delivery_at = c.v ->> 6, deadline_at = c.v ->> 7, retry_at = c.v ->> 8,
           percent = c.v ->> 9, cause = c.v ->> 10, due_at = c.v ->> 11,
           report_session = coalesce(c.v ->> 12, report_session), report_n = coalesce(c.v ->> 13, report_n),
           notices = notices + (c.v ->> 14), words = coalesce(c.v ->> 15, words),
           revision = revision + 1, modified_at = $2
      from (select j.value as v from jsonb_each($1) j) c
     where task.id = c.v ->> 0";

/// Rides on the primary key of `task`. Place in $1, words.
pub(crate) const WORDS: &str = "
    select j.key as place, t.words from json_each($1) j cross join task t
     where t.id = j.value and t.words is not null";

/// Rides on the primary keys of `task`, `device` and `device_gone`. $1, $2: after and up to which id; $3: a status or null;
/// $4: tasks to look at; $5: tasks to return.
pub(crate) const PAGE: &str = task!(
    "coalesce(d.name, g.name) as name, ",
    "from (select * from task where id > $1 and id <= $2 order by id limit $4) t
     left join device d on d.id = t.device_id
     left join device_gone g on d.id is null and g.id = t.device_id
     where ($3 is null or t.status = $3)
     order by t.id limit $5"
);

/// Rides on the primary key of `task`. The last of so many tasks, and how many there are.
pub(crate) const LOOKED: &str = "
    select coalesce(max(id), $1) || ' ' || count(*)
      from (select id from task where id > $1 and id <= $2 order by id limit $3)";

/// Rides on `device_name (product_no, name)`, `device_gone_name (product_no, name)` and
/// `task_device (device_id, (id >> 32))`.
pub(crate) const PAGE_OF: &str = task!(
    "d.name, ",
    "from (select d.id, d.name from json_each($1) j cross join device d
            where d.product_no = (select product_no from job where no = $2) and d.name = j.value
            union all
           select g.id, g.name from json_each($1) j cross join device_gone g
            where g.product_no = (select product_no from job where no = $2) and g.name = j.value) d
     cross join task t
     where t.device_id = d.id and (t.id >> 32) = $2 and t.id > $3 and ($4 is null or t.status = $4)
     order by t.id limit $5"
);
