//! What operators make of tasks: some by name, those of devices, many by a filter.

/// Rides on the primary key of `job`. $2 and $3: the status that it must be in, and the one that it gets.
pub(crate) const TURN: &str = "
    update job
       set status = $3, modified_at = case when $2 = $3 then modified_at else $4 end,
           started_at = case when $3 = 1 then coalesce(started_at, $4) else started_at end,
           ended_at = case when $3 not in (3, 4) then null when $2 = $3 then ended_at else $4 end,
           live = case when $3 in (3, 4) then live else 1 end
     where no = $1 and status = $2";

/// Rides on the primary key of `job`. Lines of: job, statuses that it is cancelling.
pub(crate) const MASKS: &str = "
    select group_concat(no || ' ' || cancel_mask, char(10)) from job
     where no in (select value from json_each($1))";

/// Rides on `task_device (device_id, (id >> 32))` and the primary key of `job`. Lines of: id, device, status.
pub(crate) const OF_DEVICES: &str = "
    select group_concat(t.id || ' ' || t.device_id || ' ' || t.status, char(10))
      from json_each($1) d cross join task t cross join job j
     where t.device_id = d.value and j.no = t.id >> 32 and j.firmware_no = $2
       and ($3 is null or j.no = $3)";

/// Rides on the primary key of `job`.
pub(crate) const FENCE: &str =
    "update job set fence = fence + 1 where no in (select value from json_each($1))";

/// Rides on the primary key of `job_bulk`.
pub(crate) const RUNNING: &str = "
    select action as bulk_action, statuses as bulk_statuses, causes as bulk_causes, seq as bulk_seq,
           moved as bulk_moved, passed as bulk_passed, done as bulk_done
      from job_bulk where job_no = $1";

/// Rides on the primary key of `job_bulk`.
pub(crate) const BEGIN: &str = "
    insert into job_bulk (job_no, action, statuses, causes) values ($1, $2, $3, $4)
        on conflict (job_no) do update
       set action = excluded.action, statuses = excluded.statuses, causes = excluded.causes,
           seq = 0, moved = 0, passed = 0, done = 0";

/// Rides on the primary key of `job_bulk`.
pub(crate) const ADVANCE: &str = "
    update job_bulk set seq = $3, done = $4, moved = moved + $5, passed = passed + $6
     where job_no = $1 and seq = $2 and done = 0";

/// Rides on the primary key of `job_bulk`.
pub(crate) const END: &str = "update job_bulk set done = 1 where job_no = $1";

/// Rides on the primary key of `job_bulk`.
pub(crate) const FORGET: &str = "delete from job_bulk where job_no = $1";

/// Rides on the primary key of `job`. $2: rate, $3: timeout, $4: tags, $5: target.
pub(crate) const UPDATE: &str = "
    update job
       set rate_version = rate_version + (maximum_per_minute <> $2), maximum_per_minute = $2, timeout = $3,
           tags = $4, target = $5, modified_at = $6
     where no = $1";
