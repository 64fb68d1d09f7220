//! Jobs: making, moving, counting.

use crate::sql::jobs::job;

/// Rides on the primary key of `job`. Holds the product's members and versions together with others who make
/// tasks of its devices; see `Lock::Product`.
pub(crate) const SHARE_PRODUCT: &str =
    "select pg_advisory_xact_lock_shared((1::bigint << 48) | product_no) from job where no = $1";

macro_rules! firmware_of {
    ($hold:literal) => {
        concat!(
            "select no, status, dest_version, src_version, module from firmware
              where id = $1 and account_id = $2 and product_no = $3 and gone_name is null ",
            $hold
        )
    };
}

/// Rides on `unique (id)` of `firmware`. Held alone, to be moved.
pub(crate) const FIRMWARE_OF: &str = firmware_of!("for no key update");

/// Rides on `unique (id)` of `firmware`. Held together with others who make jobs of it: nobody deletes it.
pub(crate) const SHARED_FIRMWARE_OF: &str = firmware_of!("for share");

/// The last number of the membership sequence.
pub(crate) const LAST_DEVICE: &str = "select last_value from device_n";

/// The last number of a change of groups.
pub(crate) const LAST_CHANGE: &str = "select last_value from group_change";

/// Rides on the primary key of `job`. Sorted.
pub(crate) const LOCK: &str = "select no from job where no = any ($1) order by no for update";

/// Rides on the primary key of `job`. Sorted.
pub(crate) const HOLD: &str = "select no from job where no = any ($1) order by no for share";

/// Rides on the primary key of `job`.
pub(crate) const BY_NO: &str = job!("where j.no = any ($1) order by j.no");

/// Rides on the primary key of `task` and of `job`. $3: before which job.
pub(crate) const OF_DEVICE: &str = job!(
    "where j.no = any (array(select t.job_no from task t where t.device_id = $1)) and j.firmware_no + 0 = $2
       and j.no < $3 order by j.no desc limit $4 offset $5"
);

/// Rides on the primary keys of `task` and `job`.
pub(crate) const COUNT_OF_DEVICE: &str = "
    select count(*) from task t
     cross join lateral (select 1 from job where no = t.job_no and firmware_no = $2 offset 0) j
     where t.device_id = $1";

/// Rides on `unique (id)` of `firmware` and `job_firmware (firmware_no, no)`.
pub(crate) const UNFINISHED_OF: &str = "
    select count(*) from firmware f cross join job j
     where f.id = $1 and j.firmware_no = f.no and j.status not in (3, 4)";

/// Rides on the primary key of `job`, which is locked.
pub(crate) const STATUS: &str = "select status, firmware_no, kind from job where no = $1";

/// Rides on the primary keys of `job`, `job_bulk`, `job_source` and `job_counter`. Asked while the job is locked.
pub(crate) const IS_DONE: &str = "
    select j.cancel_mask = 0
       and not exists (select 1 from job_bulk where job_no = $1 and done = 0)
       and exists (select 1 from job_source where job_no = $1 and complete = 1)
       and (select coalesce(sum(n), 0) from job_counter where job_no = $1 and status < 4) = 0
      from job j where j.no = $1";

/// Rides on the primary key of `job`, which is locked.
pub(crate) const MOVE: &str = "
    update job
       set status = $2, modified_at = $3, fence = fence + $4,
           started_at = case when $2 = 1 then coalesce(started_at, $3) else started_at end,
           ended_at = case when $2 in (3, 4) then $3 end,
           strategy = case when $2 in (3, 4) then null else strategy end
     where no = $1";

/// Rides on the primary key of `job_counter`. The slot is the backend's own.
pub(crate) const COUNT: &str = "
    insert into job_counter (job_no, slot, status, n)
    select c.job, pg_backend_pid() & 255, c.status, c.n
      from unnest($1::bigint[], $2::bigint[], $3::bigint[]) c (job, status, n)
        on conflict (job_no, slot, status) do update set n = job_counter.n + excluded.n";

/// Rides on the primary key of `job_counter`.
pub(crate) const COUNTS: &str = "
    select status, sum(n)::bigint as n from job_counter where job_no = $1 group by status";

/// Rides on `task_place (id)` and the primary key of `job_counter`. Counts tasks by status in one pass
/// and one snapshot: status, counted, kept.
pub(crate) const COUNT_TASKS: &str = "
    select b.status, sum(b.counted)::bigint as counted, sum(b.kept)::bigint as kept
      from (select status, count(*) as counted, 0 as kept from task
             where id > $1 << 32 and id < ($1 + 1) << 32 group by status
             union all
            select status, 0, sum(n) from job_counter where job_no = $1 and status < 7 group by status) b
     group by b.status order by b.status";

/// Rides on the primary key of `job_reject`. $2: the place after which.
pub(crate) const REJECTED: &str = "
    select cause, line from job_reject where job_no = $1 and place > $2 order by place limit $3";

/// Rides on the primary keys. Who hears of a job.
pub(crate) const FACTS: &str = "
    select j.no, j.id, j.account_id, p.key, j.multi_module, j.kind
      from job j join product p on p.no = j.product_no where j.no = $1";

/// Rides on `task_place (id)`.
pub(crate) const TO_CANCEL: &str = "
    select id, device_id, open::int as open from task
     where id > $1 << 32 | $2 and id < ($1 + 1) << 32 order by id limit $3";
