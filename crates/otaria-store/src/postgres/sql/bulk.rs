//! What operators make of tasks: some by name, those of devices, many by a filter.

/// Rides on the primary key of `job`, which is held.
pub(crate) const MASKS: &str = "select no, cancel_mask from job where no = any ($1)";

/// Rides on the primary keys of `task` and `job`. $3: a job or null.
pub(crate) const OF_DEVICES: &str = "
    select t.device_id, t.job_no, t.open::int as open
      from unnest($1::bigint[]) d (device)
     cross join lateral (select device_id, job_no, open from task where device_id = d.device offset 0) t
     cross join lateral (select 1 from job where no = t.job_no and firmware_no = $2 offset 0) j
     where ($3::bigint is null or t.job_no = $3)";

/// Rides on the primary key of `job`.
pub(crate) const FENCE: &str = "update job set fence = fence + 1 where no = any ($1)";

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

/// Rides on the primary key of `job`. $2: rate, $3: timeout, $4: tags, $5: target.
pub(crate) const UPDATE: &str = "
    update job
       set rate_version = rate_version + (maximum_per_minute <> $2)::int, maximum_per_minute = $2, timeout = $3,
           tags = $4, target = $5, modified_at = $6
     where no = $1";
