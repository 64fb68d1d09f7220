//! Parts of fleets: how many match, and who they were.

/// Rides on `job_part (product_no) where …` and primary keys.
pub(crate) const DRAWS: &str = "
    select j.no, j.product_no, j.upto, f.module
      from unnest($1::bigint[]) u (product)
     cross join job j cross join job_source s cross join firmware f
     where j.product_no = u.product and j.part_count is not null and j.part_count > 0 and j.live = 1
       and s.job_no = j.no and s.complete = 0 and f.no = j.firmware_no";

/// Rides on the primary key of `job_past`.
pub(crate) const REMEMBER: &str = "
    insert into job_past (job_no, device_id, version)
    select $1, u.device, u.version from unnest($2::bigint[], $3::text[]) u (device, version)
        on conflict do nothing";

/// Rides on `device_name (product_no, name)`, `device_gone_name (product_no, name)` and the primary keys of
/// `job_past` and `device_module`. was_other: whether its version is another one now.
pub(crate) const SCAN: &str = "
    select s.id, s.name, s.gone, (p.device_id is not null)::int as was_other, p.version as was,
           m.version as version
      from (select id, name, gone from
                (select id, name, 0 as gone from device
                  where product_no = $2 and name > $4 and (id & 281474976710655) <= $3
                  order by name limit $5) d
             union all
            select id, name, gone from
                (select g.id, g.name, 1 as gone from device_gone g cross join job_past p
                  where g.product_no = $2 and g.name > $4 and p.job_no = $1 and p.device_id = g.id
                  order by g.name limit $5) g
             order by 2 limit $5) s
      left join job_past p on p.job_no = $1 and p.device_id = s.id
      left join device_module m on m.device_id = s.id and m.module = $6
     order by s.name";
