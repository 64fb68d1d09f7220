//! Expansion: slices of devices become tasks.

/// Rides on the primary keys.
pub(crate) const JOB: &str = "
    select j.kind, j.overwrite, j.multi_module, j.need_confirm, f.module,
           s.cursor_offset, s.cursor_slice, s.cursor_after, s.complete, s.lines, s.tasks, s.skipped,
           s.malformed, s.unknown, s.duplicate, s.busy
      from job j join firmware f on f.no = j.firmware_no join job_source s on s.job_no = j.no
     where j.no = $1";

/// Rides on `task_device (device_id, (id >> 32))` and the primary key of `job_skip`. Lines of: device.
pub(crate) const SEEN: &str = "
    select group_concat(j.value, char(10)) from json_each($2) j
     where exists (select 1 from task t where t.device_id = j.value and (t.id >> 32) = $1)
        or exists (select 1 from job_skip k where k.job_no = $1 and k.device_id = j.value)";

/// Rides on `task_open (device_id, module) where open = 1`. Lines of: device, task, status, whether its
/// module is $1.
pub(crate) const OPEN: &str = "
    select group_concat(t.device_id || ' ' || t.id || ' ' || t.status || ' ' || (t.module = $1), char(10))
      from json_each($2) j cross join task t indexed by task_open
     where t.device_id = j.value and t.open = 1";

/// Appends to `task`. $1: the first id. $2 holds texts: 17 digits of the device, `b` when it is busy, the
/// version; one text a task, since taking an array apart costs as much again as the insert.
pub(crate) const NEW_TASKS: &str = "
    insert or fail into task (id, device_id, module, status, open, revision, created_at, src_version, cause)
    select $1 + j.key, cast(substr(j.value, 1, 17) as integer), $3,
           case substr(j.value, 18, 1) when 'b' then 5 else $4 end,
           case substr(j.value, 18, 1) when 'b' then null else 1 end,
           1, $5, nullif(substr(j.value, 19), ''),
           case substr(j.value, 18, 1) when 'b' then $6 end
      from json_each($2) j";

/// Rides on the primary key of `job_skip`.
pub(crate) const SKIP: &str = "
    insert or fail into job_skip (job_no, device_id) select $1, value from json_each($2)";

/// Appends to the job's range of `job_reject`. $2 holds texts: the cause's digit, the line.
pub(crate) const REJECT: &str = "
    insert or fail into job_reject (id, cause, line)
    select (select coalesce(max(id), $1 << 32) + 1 from job_reject
             where id > $1 << 32 and id < ($1 + 1) << 32) + j.key,
           cast(substr(j.value, 1, 1) as integer), substr(j.value, 2)
      from json_each($2) j";

/// Rides on the primary key of `job_source`.
pub(crate) const ADVANCE: &str = "
    update job_source
       set cursor_offset = $2, cursor_slice = $3, cursor_after = $4, complete = $5, lines = $6, tasks = $7,
           skipped = $8, malformed = $9, unknown = $10, duplicate = $11, busy = $12
     where job_no = $1";

/// Rides on the primary key of `job_skip`.
pub(crate) const FORGET_SKIPPED: &str = "
    delete from job_skip
     where job_no = $1
       and device_id in (select device_id from job_skip where job_no = $1 order by device_id limit $2)";
