//! What goes when its time is over. Rows that somebody else is removing are left to them.

/// Rides on `job_ended (ended_at) where ended_at is not null` and the primary key of `job_counter`. Locked: what is
/// opened again meanwhile is not removed.
pub(crate) const OLDEST: &str = "
    select no from job j
     where ended_at is not null and ended_at < $1 and live is null
       and (select coalesce(sum(n), 0) from job_counter where job_no = j.no and status < 4) = 0
     order by ended_at limit 1 for update skip locked";

/// Rides on `task_place (id)`.
pub(crate) const TASKS: &str = "
    delete from task
     where ctid = any (array(select ctid from task where id > $1 << 32 and id < ($1 + 1) << 32
                               order by id limit $2 for update))";

/// Rides on the primary key of `job_reject`.
pub(crate) const REJECTS: &str = "
    delete from job_reject
     where job_no = $1
       and place = any (array(select place from job_reject where job_no = $1 order by place limit $2))";

/// Rides on the primary keys of `job_skip` and `job_source`: from job to job, not from row to row.
pub(crate) const SKIPS_LEFT: &str = "
    select s.job_no from job_source s
     where s.complete = 1
       and (select true from job_skip k where k.job_no = s.job_no limit 1)
     order by s.job_no limit 1";

/// Rides on the primary keys of `job_past` and `job_source`: from job to job, not from row to row.
pub(crate) const PAST_LEFT: &str = "
    select s.job_no from job_source s
     where s.complete = 1
       and (select true from job_past p where p.job_no = s.job_no limit 1)
     order by s.job_no limit 1";
