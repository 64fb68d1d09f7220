//! Groups and who is in them.

macro_rules! group {
    ($rest:literal) => {
        concat!(
            "select g.no, g.id, g.account_id, g.name, g.description, g.parent_no, g.expression, g.device_count, g.created_at
               from device_group g ",
            $rest
        )
    };
}

/// Appends to `device_group`.
pub(crate) const NEW: &str = "
    insert into device_group (id, account_id, name, description, parent_no, created_at, expression)
    values ($1, $2, $3, $4, $5, $6, $7) returning no";

/// Rides on the primary key of `device_group`. $3: whether it must be a dynamic one, or null.
pub(crate) const ALIVE: &str = "
    select exists (select 1 from device_group
                    where no = $1 and name is not null and ($2 is null or account_id = $2)
                      and ($3 is null or (expression is not null) = $3))";

/// Rides on `unique (id)` of `device_group`.
pub(crate) const GROUP: &str = group!("where g.id = $1 and g.account_id = $2 and g.name is not null");

/// Rides on the primary key of `device_group`.
pub(crate) const DESCRIBE: &str =
    "update device_group set description = $2 where no = $1 and name is not null";

/// Rides on the primary key of `device_group`.
pub(crate) const DELETE: &str = "update device_group set name = null where no = $1 and name is not null";

/// Rides on `device_group_parent (parent_no) where parent_no is not null`.
pub(crate) const ORPHAN: &str = "update device_group set parent_no = null where parent_no = $1";

/// Rides on `device_group_account (account_id, no)`. $2, $3: a beginning of the name and a parent, or null.
pub(crate) const GROUPS: &str = group!(
    "where g.account_id = $1 and g.name is not null and ($2 is null or substr(g.name, 1, length($2)) = $2)
       and ($3 is null or g.parent_no = $3) and g.no < $4 and ($7 is null or (g.expression is not null) = $7)
     order by g.no desc limit $5 offset $6"
);

/// Rides on `device_group_account (account_id, no)`.
pub(crate) const COUNT: &str = "
    select count(*) from device_group g
     where g.account_id = $1 and g.name is not null and ($2 is null or substr(g.name, 1, length($2)) = $2)
       and ($3 is null or g.parent_no = $3) and ($4 is null or (g.expression is not null) = $4)";

/// Rides on the primary key of `device`, on `group_member_device (device_id) where removed is null` and on
/// the primary key of `device_group`. Lines of: device, groups it is in, whether it is in $1.
pub(crate) const STANDING: &str = "
    select group_concat(s.id || ' ' || s.groups || ' ' || s.is_in, char(10)) from (
        select d.id, count(g.no) as groups, coalesce(max(g.no = $1), 0) as is_in
          from json_each($2) j
         cross join device d
          left join group_member m on m.device_id = d.id and m.removed is null
          left join device_group g on g.no = m.group_no and g.name is not null
         where d.id = j.value
         group by d.id) s";

/// Rides on the primary key of `group_member`.
pub(crate) const ADD: &str = "
    insert into group_member (group_no, device_id, added) select $1, value, $3 from json_each($2)";

/// Rides on the primary key of `group_member`.
pub(crate) const TAKE: &str = "
    update group_member set removed = $3
     where group_no = $1 and device_id in (select value from json_each($2)) and removed is null";

/// Rides on the primary key of `device_group`.
pub(crate) const COUNT_DEVICES: &str =
    "update device_group set device_count = device_count + $2 where no = $1";

/// Rides on the primary keys of `group_member` and `device`.
pub(crate) const DEVICES: &str = "
    select d.id, d.product_no, d.name, d.nickname, d.enabled, d.sealed_secret, d.created_at, d.active_at,
           d.online_at
      from device_group g cross join group_member m cross join device d
     where g.no = $1 and g.name is not null and m.group_no = g.no and m.device_id > $2 and m.removed is null
       and d.id = m.device_id
     order by m.device_id limit $3 offset $4";

/// Rides on the primary keys of `group_member` and `device`.
pub(crate) const ACTIVE: &str = "
    select count(*) from group_member m cross join device d
     where m.group_no = $1 and m.removed is null and d.id = m.device_id and d.active_at is not null";

/// Rides on `group_member_device (device_id) where removed is null` and the primary key of `device_group`.
pub(crate) const OF_DEVICE: &str = group!(
    "where g.name is not null
       and g.no in (select m.group_no from group_member m where m.device_id = $1 and m.removed is null)
     order by g.no"
);

/// Rides on the primary keys of `group_member`, `device` and `device_module`. Lines of: id, name, version or
/// nothing.
pub(crate) const SCAN: &str = "
    select group_concat(s.id || ' ' || s.name || ' ' || coalesce(m.version, ''), char(10))
      from (select d.id, d.name from group_member g cross join device d
             where g.group_no = $1 and g.device_id > $2 and g.added <= $3
               and (g.removed is null or g.removed > $3) and d.id = g.device_id and d.product_no = $4
             order by g.device_id limit $5) s
      left join device_module m on m.device_id = s.id and m.module = $6";

/// Rides on `group_member_device (device_id) where removed is null`. Lines of: group.
pub(crate) const LEAVING: &str = "
    select group_concat(group_no, char(10)) from group_member where device_id = $1 and removed is null";

/// Rides on the primary key of `group_member`.
pub(crate) const LEAVE: &str = "
    update group_member set removed = $3
     where group_no in (select value from json_each($2)) and device_id = $1 and removed is null";

/// Rides on `group_member_removed (removed) where removed is not null`, `job_group (group_no) where …` and
/// the primary key of `job_source`.
pub(crate) const FORGET_REMOVED: &str = "
    delete from group_member where (group_no, device_id, added) in
        (select m.group_no, m.device_id, m.added from group_member m
          where m.removed > 0
            and not exists (select 1 from job j cross join job_source s
                             where j.group_no = m.group_no and j.live = 1 and j.group_upto < m.removed
                               and s.job_no = j.no and s.complete = 0)
          limit $1)";

/// Rides on `unique (account_id, name)` of `device_group` by a scan, since there are few, on the primary key
/// of `group_member`, `job_group (group_no) where …` and the primary key of `job_source`.
pub(crate) const FORGET_MEMBERS: &str = "
    delete from group_member where (group_no, device_id, added) in
        (select m.group_no, m.device_id, m.added from device_group g cross join group_member m
          where g.name is null and m.group_no = g.no
            and not exists (select 1 from job j cross join job_source s
                             where j.group_no = g.no and j.live = 1 and s.job_no = j.no and s.complete = 0)
          limit $1)";

/// Rides on `unique (account_id, name)` of `device_group` by a scan, and the primary key of `group_member`.
pub(crate) const FORGET_GROUPS: &str = "
    delete from device_group where no in
        (select no from device_group g
          where g.name is null and not exists (select 1 from group_member m where m.group_no = g.no)
          limit $1)";
