//! Jobs: making, moving, counting.

macro_rules! job {
    ($rest:literal) => {
        concat!(
            "select j.no, j.id, j.account_id, j.product_no, p.key, j.firmware_no, f.id as firmware_id, j.kind,
                    j.target, j.schedule_start, j.schedule_finish, j.maximum_per_minute, j.retry_interval,
                    j.retry_count, j.timeout, j.offer_timeout, j.overwrite, j.multi_module, j.need_push,
                    j.need_confirm, j.download_protocol, j.tags, j.description, j.client_token, j.source,
                    j.source_object, j.source_size, j.part_matching, j.part_count, j.part_rank,
                    j.part_device, j.group_no, j.group_upto, j.dynamic_mode, j.standing_group, j.expression, j.upto, j.status, j.cancel_mask, j.cancel_cause, j.fence,
                    j.rate_version, j.created_at, j.modified_at, j.started_at, j.ended_at, j.digest,
                    s.cursor_offset, s.cursor_slice, s.cursor_after, s.complete, s.lines, s.tasks, s.skipped,
                    s.malformed, s.unknown, s.duplicate, s.busy, b.action as bulk_action,
                    b.statuses as bulk_statuses, b.causes as bulk_causes, b.seq as bulk_seq,
                    b.moved as bulk_moved, b.passed as bulk_passed, b.done as bulk_done
               from job j
               join product p on p.no = j.product_no
               join firmware f on f.no = j.firmware_no
               join job_source s on s.job_no = j.no
               left join job_bulk b on b.job_no = j.no ",
            $rest
        )
    };
}

pub(crate) use job;

/// Rides on `unique (key)` of `product`.
pub(crate) const PRODUCT_OF: &str =
    "select no from product where key = $1 and account_id = $2 and gone_name is null";

/// Rides on `unique (id)` of `firmware`.
pub(crate) const FIRMWARE_OF: &str = "select no, status, dest_version, src_version, module from firmware
      where id = $1 and account_id = $2 and product_no = $3 and gone_name is null";

/// Rides on the primary key of `sequence`.
pub(crate) const LAST: &str = "select last from sequence where name = $1";

/// Rides on `job_token (account_id, client_token) where client_token is not null`.
pub(crate) const BY_TOKEN: &str = job!("where j.account_id = $1 and j.client_token = $2");

/// Appends to `job`.
pub(crate) const NEW: &str = "
    insert into job (id, account_id, product_no, firmware_no, kind, target, file_url, schedule_start,
                     schedule_finish, maximum_per_minute, retry_interval, retry_count, timeout, offer_timeout,
                     overwrite, multi_module, need_push, need_confirm, download_protocol, tags, description,
                     client_token, digest, source, source_object, source_size, upto, status, started_at,
                     ended_at, created_at, modified_at, part_matching, part_count, group_no, group_upto,
                     dynamic_mode, standing_group, expression, strategy)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
            $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $31, $32, $33, $34, $35, $36, $37, $38, $39)
    returning no";

/// Appends to `job_source`. $2: whether there is nothing to expand.
pub(crate) const NEW_SOURCE: &str = "insert into job_source (job_no, complete) values ($1, $2)";

/// Rides on the primary key of `job_source`.
pub(crate) const STOP_EXPANSION: &str = "update job_source set complete = 1 where job_no = $1";

/// Rides on `job_strategy_firmware (firmware_no) where strategy = 1`.
pub(crate) const STRATEGY_OF: &str =
    "select exists (select 1 from job where firmware_no = $1 and strategy = 1)";

/// Rides on `job_strategy_group (standing_group) where strategy = 1 and standing_group is not null`.
pub(crate) const STRATEGY_OF_GROUP: &str = "
    select overwrite, multi_module from job
     where standing_group = $1 and strategy = 1 and standing_group is not null limit 1";

/// Rides on the primary key of `firmware`.
pub(crate) const MOVE_FIRMWARE: &str =
    "update firmware set status = $3, modified_at = $4 where no = $1 and status = $2";

/// Rides on `unique (id)` of `job`.
pub(crate) const JOB: &str = job!("where j.id = $1 and j.account_id = $2");

/// Rides on the primary key of `job`.
pub(crate) const BY_NO: &str = job!("where j.no in (select value from json_each($1)) order by j.no");

/// Rides on `job_account (account_id, no)`.
pub(crate) const JOBS: &str = job!("where j.account_id = $1 and j.no > $2 order by j.no limit $3");

/// Rides on `job_firmware (firmware_no)`. $2: before which job.
pub(crate) const OF_FIRMWARE: &str =
    job!("where j.firmware_no = $1 and j.no < $2 order by j.no desc limit $3 offset $4");

/// Rides on `job_firmware (firmware_no)`.
pub(crate) const COUNT_OF_FIRMWARE: &str = "select count(*) from job where firmware_no = $1";

/// Rides on `task_device (device_id, (id >> 32))` and the primary key of `job`. $3: before which job.
pub(crate) const OF_DEVICE: &str = job!(
    "where j.no in (select t.id >> 32 from task t where t.device_id = $1) and j.firmware_no + 0 = $2
       and j.no < $3 order by j.no desc limit $4 offset $5"
);

/// Rides on `task_device (device_id, (id >> 32))` and the primary key of `job`.
pub(crate) const COUNT_OF_DEVICE: &str = "
    select count(*) from task t cross join job j
     where t.device_id = $1 and j.no = t.id >> 32 and j.firmware_no = $2";

/// Rides on `job_live (no) where live = 1`.
pub(crate) const UNFINISHED: &str = job!("where j.live = 1 order by j.no");

/// Rides on `job_ended (ended_at) where ended_at is not null`.
pub(crate) const ENDED: &str =
    job!("where j.ended_at is not null and j.ended_at >= $1 order by j.ended_at desc, j.no desc limit $2");

/// Rides on `job_firmware (firmware_no)`.
pub(crate) const UNFINISHED_OF: &str = "
    select count(*) from firmware f cross join job j
     where f.id = $1 and j.firmware_no = f.no and j.status not in (3, 4)";

/// Rides on the primary key of `job`.
pub(crate) const TARGET: &str = "select target from job where no = $1";

/// Rides on the primary keys of `job`, `job_source` and `job_counter`. $4: only if it is done.
pub(crate) const MOVE: &str = "
    update job
       set status = $3, modified_at = $5, fence = fence + $6,
           started_at = case when $3 = 1 then coalesce(started_at, $5) else started_at end,
           ended_at = case when $3 in (3, 4) then $5 end,
           strategy = case when $3 in (3, 4) then null else strategy end
     where no = $1 and status = $2
       and ($4 = 0
            or (cancel_mask = 0
                and not exists (select 1 from job_bulk where job_no = $1 and done = 0)
                and exists (select 1 from job_source where job_no = $1 and complete = 1)
                and (select coalesce(sum(n), 0) from job_counter where job_no = $1 and status < 4) = 0))
    returning firmware_no, kind";

/// Rides on the primary key of `job`. $2 of no use leaves the statuses that are being cancelled already.
pub(crate) const REQUEST_CANCEL: &str = "
    update job
       set cancel_mask = cancel_mask | $2, cancel_cause = $3, cancel_seq = 0, fence = fence + 1, live = 1,
           modified_at = $4
     where no = $1";

/// Rides on the primary keys of `job` and `job_source`.
pub(crate) const REFRESH_LIVE: &str = "
    update job
       set live = case
           when status in (3, 4) and cancel_mask = 0
            and not exists (select 1 from job_bulk where job_no = $1 and done = 0)
            and exists (select 1 from job_source where job_no = $1 and complete = 1) then null
           else 1 end
     where no = $1";

/// Rides on the primary key of `job_counter`. Lines of: status, n.
pub(crate) const COUNTS: &str = "
    select group_concat(c.status || ' ' || c.n, char(10))
      from (select status, sum(n) as n from job_counter where job_no = $1 group by status) c";

/// Rides on the primary key of `task`. Counts tasks by status in one pass, without sorting.
pub(crate) const COUNT_TASKS: &str = "
    select coalesce(sum(status = 0), 0) || ' ' || coalesce(sum(status = 1), 0) || ' ' ||
           coalesce(sum(status = 2), 0) || ' ' || coalesce(sum(status = 3), 0) || ' ' ||
           coalesce(sum(status = 4), 0) || ' ' || coalesce(sum(status = 5), 0) || ' ' ||
           coalesce(sum(status = 6), 0) || ' ' ||
           (select group_concat(k.n, ' ') from
             (select coalesce((select sum(n) from job_counter where job_no = $1 and status = s.value), 0) as n
                from json_each('[0,1,2,3,4,5,6]') s order by s.key) k)
      from task where id > $1 << 32 and id < ($1 + 1) << 32";

/// Rides on the primary key of `job_counter`. $1 holds arrays of job, status, n; all in shard 0, since one
/// task writes.
pub(crate) const COUNT: &str = "
    insert into job_counter (job_no, shard, status, n)
    select j.value ->> 0, 0, j.value ->> 1, j.value ->> 2 from jsonb_each($1) j where true
        on conflict (job_no, shard, status) do update set n = n + excluded.n";

/// Rides on the primary key of `job_reject`. $2: the place after which.
pub(crate) const REJECTED: &str = "
    select cause, line from job_reject
     where id > $1 << 32 | $2 and id < ($1 + 1) << 32 order by id limit $3";

/// Rides on the primary keys. Who hears of a job.
pub(crate) const FACTS: &str = "
    select j.no, j.id, j.account_id, p.key, j.status, j.cancel_mask, j.multi_module, j.kind
      from json_each($1) v cross join job j join product p on p.no = j.product_no
     where j.no = v.value";

/// Rides on the primary key of `job`.
pub(crate) const CANCELING: &str = "
    select j.cancel_mask, j.cancel_cause, j.cancel_seq, s.complete
      from job j join job_source s on s.job_no = j.no where j.no = $1";

/// Rides on the primary key of `task`. Lines of: id, device, status.
pub(crate) const TO_CANCEL: &str = "
    select group_concat(t.id || ' ' || t.device_id || ' ' || t.status, char(10))
      from (select id, device_id, status from task
             where id > $1 << 32 | $2 and id < ($1 + 1) << 32 order by id limit $3) t";

/// Rides on the primary key of `job`.
pub(crate) const CANCEL_CURSOR: &str = "
    update job
       set cancel_seq = $2, cancel_mask = case when $3 = 1 then 0 else cancel_mask end,
           cancel_cause = case when $3 = 1 then null else cancel_cause end, modified_at = $4
     where no = $1";

/// Rides on the primary key of `task`.
pub(crate) const CANCEL_TASKS: &str = "
    update or fail task
       set status = 6, open = null, cause = $2, due_at = null, revision = revision + 1, modified_at = $3,
           delivery = null, delivery_at = null, deadline_at = null, retry_at = null, percent = null,
           offered_at = null
     where id in (select value from json_each($1))";
