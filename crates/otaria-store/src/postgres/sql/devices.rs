//! Products and devices.

/// Rides on the primary key of `account`. Held: keys, firmware and whatever else has a number in an account.
pub(crate) const HOLD_ACCOUNT: &str = "select no from account where no = $1 for no key update";

/// Rides on the primary key of `product`. Held, so that what is counted or deleted stands still.
pub(crate) const HOLD_PRODUCT: &str = "
    select device_count from product where no = $1 and gone_name is null for no key update";

/// Rides on `device_name (product_no, name)`. Places in $2, from 1.
pub(crate) const TAKEN_NAMES: &str = "
    select u.place from unnest($2::text[]) with ordinality u (name, place)
     cross join lateral (select 1 from device where product_no = $1 and name = u.name offset 0) d";

/// Rides on nothing: draws $1 numbers of the membership sequence.
pub(crate) const DRAW: &str = "select nextval('device_n') from generate_series(1, $1)";

/// Appends to the end of each shard in `device`.
pub(crate) const REGISTER: &str = "
    insert into device (id, product_no, name, sealed_secret, nickname, created_at)
    select u.id, $1, u.name, u.secret, u.nickname, $2
      from unnest($3::bigint[], $4::text[], $5::bytea[], $6::text[]) u (id, name, secret, nickname)";

/// Rides on the primary key of `device`.
pub(crate) const DEVICES_BY_ID: &str = "
    select d.id, d.product_no, d.name, d.nickname, d.enabled, d.sealed_secret, d.created_at, d.active_at,
           d.online_at
      from unnest($1::bigint[]) u (id) cross join device d where d.id = u.id";

/// Rides on the primary key of `device_module`.
pub(crate) const VERSIONS: &str = "
    select m.device_id, m.module, m.version, m.at
      from unnest($1::bigint[]) u (id) cross join device_module m where m.device_id = u.id";

/// Rides on `unique (key)` of `product` and `device_name (product_no, name)`.
pub(crate) const AUTH: &str = "
    select u.place - 1 as place, d.id, p.account_id, d.enabled, d.sealed_secret
      from unnest($1::text[], $2::text[]) with ordinality u (key, name, place)
     cross join product p
     cross join lateral (select id, enabled, sealed_secret from device
                          where product_no = p.no and name = u.name offset 0) d
     where p.key = u.key";

/// Rides on the primary key of `device`. $1 is sorted.
pub(crate) const CONNECTED: &str = "
    update device
       set active_at = least(coalesce(active_at, u.first), u.first),
           online_at = greatest(coalesce(online_at, u.last), u.last)
      from unnest($1::bigint[], $2::bigint[], $3::bigint[]) u (id, first, last)
     where device.id = u.id";

/// Rides on `device_name (product_no, name)` and the primary key of `device_module`. Places in $3, from 1.
pub(crate) const RESOLVE: &str = "
    select u.place, d.id, m.version
      from unnest($3::text[]) with ordinality u (name, place)
     cross join lateral (select id from device where product_no = $1 and name = u.name offset 0) d
      left join device_module m on m.device_id = d.id and m.module = $2";

/// Rides on `device_name (product_no, name)` and the primary key of `device_module`.
pub(crate) const SCAN: &str = "
    select s.id, s.name, m.version
      from (select id, name from device
             where product_no = $1 and name > $3 and (id & 281474976710655) <= $4
             order by name limit $5) s
      left join device_module m on m.device_id = s.id and m.module = $2
     order by s.name";

/// Rides on the primary keys of `device` and `device_gone`.
pub(crate) const NAMES: &str = "
    select d.id, d.name from unnest($1::bigint[]) u (id) cross join device d where d.id = u.id
     union all
    select g.id, g.name from unnest($1::bigint[]) u (id) cross join device_gone g where g.id = u.id";
