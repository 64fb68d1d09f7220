//! Groups and who is in them.

/// Rides on the primary key of `device`. Held and sorted, so that nobody else counts their groups meanwhile.
pub(crate) const HOLD_DEVICES: &str = "
    select d.id from unnest($1::bigint[]) u (id) cross join device d
     where d.id = u.id order by d.id for no key update of d";

/// Rides on the primary key of `device`, on `group_member_device (device_id) where removed is null` and on
/// the primary key of `device_group`. Groups that each is in, and whether it is in $1.
pub(crate) const STANDING: &str = "
    select u.id, count(g.no) as groups, coalesce(max((g.no = $1)::int), 0) as is_in
      from unnest($2::bigint[]) u (id)
      left join group_member m on m.device_id = u.id and m.removed is null
      left join device_group g on g.no = m.group_no and g.name is not null
     group by u.id order by u.id";

/// Rides on nothing: draws the number of a change.
pub(crate) const DRAW: &str = "select nextval('group_change')";

/// Rides on the primary key of `group_member`.
pub(crate) const ADD: &str = "
    insert into group_member (group_no, device_id, added)
    select $1, u.id, $3 from unnest($2::bigint[]) u (id)";

/// Rides on the primary key of `group_member`.
pub(crate) const TAKE: &str = "
    update group_member set removed = $3
     where group_no = $1 and device_id = any($2) and removed is null";

/// Rides on the primary keys of `group_member` and `device`; says null in other words, so as not to walk
/// everybody who is in some group.
pub(crate) const ACTIVE: &str = "
    select count(*) from group_member m cross join device d
     where m.group_no = $1 and coalesce(m.removed, 0) = 0 and d.id = m.device_id and d.active_at is not null";

/// Rides on the primary keys of `group_member`, `device` and `device_module`.
pub(crate) const SCAN: &str = "
    select s.id, s.name, m.version
      from (select d.id, d.name from group_member g
             cross join lateral (select id, name from device
                                  where id = g.device_id and product_no = $4 offset 0) d
             where g.group_no = $1 and g.device_id > $2 and g.added <= $3
               and (g.removed is null or g.removed > $3)
             order by g.device_id limit $5) s
      left join device_module m on m.device_id = s.id and m.module = $6
     order by s.id";

/// Rides on `group_member_device (device_id) where removed is null`.
pub(crate) const LEAVING: &str = "
    select group_no from group_member where device_id = $1 and removed is null order by group_no";

/// Rides on `group_member_device (device_id) where removed is null`.
pub(crate) const LEAVE: &str = "
    update group_member set removed = $2 where device_id = $1 and removed is null returning group_no";
