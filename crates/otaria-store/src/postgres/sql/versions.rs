//! Versions that devices informed, and how many informed which.

/// Rides on the primary keys of `device` and `device_module`. Places in $1 and $2, from 1; what is kept, null
/// where nothing is.
pub(crate) const KEPT: &str = "
    select u.place, d.product_no, m.report_session, m.report_n, m.version
      from unnest($1::bigint[], $2::text[]) with ordinality u (device, module, place)
     cross join device d
      left join device_module m on m.device_id = d.id and m.module = u.module
     where d.id = u.device";

/// Rides on the primary key of `device_module`. Compare-and-set: $7 and $8 are the session and number of what
/// was seen. Sorted by device and module.
pub(crate) const REPLACE: &str = "
    update device_module m
       set version = u.version, at = u.at, report_session = u.session, report_n = u.n
      from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                  $7::bigint[], $8::bigint[])
           u (device, module, version, at, session, n, seen_session, seen_n)
     where m.device_id = u.device and m.module = u.module
       and m.report_session = u.seen_session and m.report_n = u.seen_n";

/// Rides on the primary keys of `device_module` and `device`: of devices that are still there.
pub(crate) const FIRST: &str = "
    insert into device_module (device_id, module, version, at, report_session, report_n)
    select u.device, u.module, u.version, u.at, u.session, u.n
      from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[])
           u (device, module, version, at, session, n)
     where exists (select 1 from device d where d.id = u.device)
        on conflict do nothing";

/// Rides on the primary key of `version_count`. Sorted by all of it.
pub(crate) const COUNT: &str = "
    insert into version_count as c (product_no, module, version, n)
    select u.product, u.module, u.version, u.n
      from unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[]) u (product, module, version, n)
        on conflict (product_no, module, version) do update set n = c.n + excluded.n
    returning product_no, module, version, n";

/// Rides on the primary key of `version_count`.
pub(crate) const FORGET_NONE: &str = crate::sql::versions::FORGET_NONE;
