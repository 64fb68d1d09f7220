//! What goes when its time is over.

/// Rides on `job_ended (ended_at) where ended_at is not null` and the primary key of `job_counter`.
pub(crate) const OLDEST: &str = "
    select no from job j
     where ended_at is not null and ended_at < $1 and live is null
       and (select coalesce(sum(n), 0) from job_counter where job_no = j.no and status < 4) = 0
     order by ended_at limit 1";

/// Rides on the primary key of `task`.
pub(crate) const TASKS: &str = "
    delete from task where id in
        (select id from task where id > $1 << 32 and id < ($1 + 1) << 32 order by id limit $2)";

/// Rides on the primary key of `job_reject`.
pub(crate) const REJECTS: &str = "
    delete from job_reject where id in
        (select id from job_reject where id > $1 << 32 and id < ($1 + 1) << 32 order by id limit $2)";

/// Rides on the primary key of `job_skip`.
pub(crate) const SKIPS: &str = super::expand::FORGET_SKIPPED;

/// Rides on the primary key of `job_counter`.
pub(crate) const COUNTERS: &str = "delete from job_counter where job_no = $1";

/// Rides on the primary key of `job_source`.
pub(crate) const SOURCE: &str = "delete from job_source where job_no = $1";

/// Rides on the primary key of `job`.
pub(crate) const JOB: &str = "delete from job where no = $1";

/// Rides on the primary keys of `job_skip` and `job_source`: from job to job, not from row to row.
pub(crate) const SKIPS_LEFT: &str = "
    select s.job_no from job_source s
     where s.complete = 1 and exists (select 1 from job_skip k where k.job_no = s.job_no) limit 1";
