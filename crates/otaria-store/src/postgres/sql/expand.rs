//! Expansion: slices of devices become tasks.

/// Rides on the primary keys. Holds the cursor: of two who write the same slice the second one waits, and finds it
/// moved.
pub(crate) const JOB: &str = "
    select j.kind, j.overwrite, j.multi_module, j.need_confirm, f.module,
           s.cursor_offset, s.cursor_slice, s.cursor_after, s.complete, s.lines, s.tasks, s.skipped,
           s.malformed, s.unknown, s.duplicate, s.busy
      from job j join firmware f on f.no = j.firmware_no join job_source s on s.job_no = j.no
     where j.no = $1
       for update of s";

/// Rides on the primary keys of `task` and `job_skip`. Subqueries by row, since a join might be turned into a
/// scan of all that the job skipped. $3, $4: whether there are tasks, and skipped devices.
pub(crate) const SEEN: &str = "
    select d.device from unnest($2::bigint[]) d (device)
     where ($3 and (select true from task t where t.device_id = d.device and t.job_no = $1))
        or ($4 and (select true from job_skip k where k.job_no = $1 and k.device_id = d.device))";

/// Rides on `task_open (device_id, module) where open`. same_module: whether it is $1.
pub(crate) const OPEN: &str = "
    select t.device_id, t.job_no, t.status, (t.module = $1)::int as same_module
      from unnest($2::bigint[]) d (device)
     cross join lateral (select device_id, job_no, status, module from task
                          where device_id = d.device and open offset 0) t";

/// Appends to `task`, as text.
pub(crate) const COPY: &str = "
    copy task (device_id, job_no, id, created_at, status, open, module, src_version, cause) from stdin";

/// Rides on the primary key of `job_skip`.
pub(crate) const SKIP: &str = "
    insert into job_skip (job_no, device_id) select $1, d.device from unnest($2::bigint[]) d (device)";

/// Appends to `job_reject`, whose places the cursor's lock keeps for one writer. $2, $3: causes, lines.
pub(crate) const REJECT: &str = "
    insert into job_reject (job_no, place, cause, line)
    select $1, (select coalesce(max(place), 0) from job_reject where job_no = $1) + r.place, r.cause, r.line
      from unnest($2::bigint[], $3::text[]) with ordinality r (cause, line, place)";

/// Rides on the primary key of `job_skip`.
pub(crate) const FORGET_SKIPPED: &str = "
    delete from job_skip
     where job_no = $1
       and device_id = any (array(select device_id from job_skip where job_no = $1 order by device_id limit $2))";
