//! Versions that devices informed, and how many informed which.

/// Rides on the primary keys of `device` and `device_module`. $1 holds arrays of device, module. Lines of,
/// with tabs between: place in $1, product, session, number, version; the last three of nothing when none
/// is kept.
pub(crate) const KEPT: &str = "
    select group_concat(j.key || char(9) || d.product_no || char(9) || coalesce(m.report_session, '') ||
                        char(9) || coalesce(m.report_n, '') || char(9) || coalesce(m.version, ''), char(10))
      from json_each($1) j
     cross join device d
      left join device_module m on m.device_id = d.id and m.module = j.value ->> 1
     where d.id = j.value ->> 0";

/// Rides on the primary key of `device_module`. $1 holds arrays of device, module, version, instant,
/// session, number.
pub(crate) const KEEP: &str = "
    insert into device_module (device_id, module, version, at, report_session, report_n)
    select j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4, j.value ->> 5
      from json_each($1) j where true
        on conflict (device_id, module) do update
       set version = excluded.version, at = excluded.at,
           report_session = excluded.report_session, report_n = excluded.report_n";

/// Rides on the primary key of `version_count`. $1 holds arrays of product, module, version, n.
pub(crate) const COUNT: &str = "
    insert into version_count (product_no, module, version, n)
    select j.value ->> 0, j.value ->> 1, j.value ->> 2, j.value ->> 3 from json_each($1) j where true
        on conflict (product_no, module, version) do update set n = n + excluded.n
    returning product_no, module, version, n";

/// Rides on the primary key of `version_count`.
pub(crate) const FORGET_NONE: &str =
    "delete from version_count where product_no = $1 and module = $2 and version = $3 and n = 0";
