//! Parts of fleets: how many match, and who they were.

/// Rides on the primary key of `product`.
pub(crate) const DEVICES: &str = "select device_count from product where no = $1";

/// Rides on the primary key of `version_count`.
pub(crate) const VERSIONS: &str =
    "select version, n from version_count where product_no = $1 and module = $2 and n > 0";

/// Rides on `job_part (product_no, part_count) where …` and primary keys.
pub(crate) const DRAWS: &str = "
    select j.no, j.product_no, j.upto, f.module
      from job j cross join job_source s cross join firmware f
     where j.part_count > 0 and j.live = 1 and j.product_no in (select value from json_each($1))
       and s.job_no = j.no and s.complete = 0 and f.no = j.firmware_no";

/// Rides on the primary key of `job_past`. $2 holds arrays of device, version or null.
pub(crate) const REMEMBER: &str = "
    insert into job_past (job_no, device_id, version)
    select $1, j.value ->> 0, j.value ->> 1 from json_each($2) j where true on conflict do nothing";

/// Rides on the primary keys of `device` and `device_module`.
pub(crate) const VERSION_OF: &str = "
    select d.product_no, m.module, m.version
      from device d left join device_module m on m.device_id = d.id where d.id = $1";

/// Rides on the primary keys of `job` and `firmware`.
pub(crate) const JOB: &str = "
    select j.product_no, j.upto, f.module from job j cross join firmware f
     where j.no = $1 and f.no = j.firmware_no";

/// Rides on `device_name (product_no, name)`, `device_gone_name (product_no, name)` and the primary keys of
/// `job_past` and `device_module`. Lines of, with tabs between: device, name, whether it is gone, whether
/// its version is another one now, the one it was, the one it is.
pub(crate) const SCAN: &str = "
    select group_concat(s.id || char(9) || s.name || char(9) || s.gone || char(9) ||
                        (p.device_id is not null) || char(9) || coalesce(p.version, '') || char(9) ||
                        coalesce(m.version, ''), char(10))
      from (select id, name, gone from
                (select id, name, 0 as gone from device
                  where product_no = $2 and name > $4 and (id & 281474976710655) <= $3
                  order by name limit $5)
             union all
            select id, name, gone from
                (select g.id, g.name, 1 as gone from device_gone g cross join job_past p
                  where g.product_no = $2 and g.name > $4 and p.job_no = $1 and p.device_id = g.id
                  order by g.name limit $5)
             order by 2 limit $5) s
      left join job_past p on p.job_no = $1 and p.device_id = s.id
      left join device_module m on m.device_id = s.id and m.module = $6";

/// Rides on the primary key of `job`.
pub(crate) const PUT_DRAW: &str = "
    update job set part_rank = $2, part_device = $3
     where no = $1 and part_count is not null and part_device is null";

/// Rides on the primary key of `job`.
pub(crate) const DRAW: &str =
    "select part_rank, part_device from job where no = $1 and part_device is not null";

/// Rides on the primary key of `job_past`.
pub(crate) const FORGET_PAST: &str = "
    delete from job_past
     where job_no = $1
       and device_id in (select device_id from job_past where job_no = $1 order by device_id limit $2)";

/// Rides on the primary keys of `job_past` and `job_source`: from job to job, not from row to row.
pub(crate) const PAST_LEFT: &str = "
    select s.job_no from job_source s
     where s.complete = 1 and exists (select 1 from job_past p where p.job_no = s.job_no) limit 1";
