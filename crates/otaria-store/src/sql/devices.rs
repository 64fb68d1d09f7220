//! Products, devices and versions.

/// Appends to `product`.
pub(crate) const NEW_PRODUCT: &str = "
    insert into product (account_id, key, name, description, node_type, sealed_secret, created_at)
    values ($1, $2, $3, $4, $5, $6, $7)
    returning no, account_id, key, name, description, node_type, sealed_secret, device_count, created_at";

/// Rides on `unique (key)` of `product`.
pub(crate) const PRODUCT: &str = "
    select no, account_id, key, name, description, node_type, sealed_secret, device_count, created_at
      from product where key = $1 and gone_name is null";

/// Rides on the primary key of `product`.
pub(crate) const PRODUCT_BY_NO: &str = "
    select no, account_id, key, coalesce(gone_name, name) as name, description, node_type, sealed_secret,
           device_count, created_at
      from product where no = $1";

/// Rides on `unique (account_id, name)` of `product` and sorts: an account has few.
pub(crate) const PRODUCTS: &str = "
    select no, account_id, key, name, description, node_type, sealed_secret, device_count, created_at
      from product where account_id = $1 and no > $2 and gone_name is null order by no limit $3";

/// Rides on `unique (account_id, name)` of `product`.
pub(crate) const COUNT_PRODUCTS: &str =
    "select count(*) from product where account_id = $1 and gone_name is null";

/// Rides on `device_name (product_no, name)`. Lines of: place in $2.
pub(crate) const TAKEN_NAMES: &str = "
    select group_concat(j.key, char(10)) from json_each($2) j
     cross join device d where d.product_no = $1 and d.name = j.value";

/// Rides on the primary key of `sequence`.
pub(crate) const DRAW: &str = "update sequence set last = last + $2 where name = $1 returning last - $2";

/// Appends to the end of each shard in `device`. $2 holds arrays of id, name, secret in hex digits, nickname.
pub(crate) const REGISTER: &str = "
    insert or fail into device (id, product_no, name, sealed_secret, nickname, created_at)
    select j.value ->> 0, $1, j.value ->> 1, unhex(j.value ->> 2), j.value ->> 3, $3 from jsonb_each($2) j";

/// Rides on the primary key of `account`.
pub(crate) const ACCOUNT_EXISTS: &str = super::accounts::ACCOUNT_EXISTS;

/// Rides on the primary key of `product`.
pub(crate) const COUNT_DEVICES: &str =
    "update product set device_count = device_count + $2 where no = $1 and gone_name is null";

/// Rides on `device_name (product_no, name)`.
pub(crate) const DEVICE: &str = "
    select id, product_no, name, nickname, enabled, sealed_secret, created_at, active_at, online_at
      from device where product_no = $1 and name = $2";

/// Rides on the primary key of `device`.
pub(crate) const DEVICE_BY_ID: &str = "
    select id, product_no, name, nickname, enabled, sealed_secret, created_at, active_at, online_at
      from device where id = $1";

/// Rides on `device_name (product_no, name)`.
pub(crate) const DEVICES: &str = "
    select id, product_no, name, nickname, enabled, sealed_secret, created_at, active_at, online_at
      from device where product_no = $1 and name > $2 order by name limit $3";

/// Rides on the primary key of `device`.
pub(crate) const DEVICES_BY_ID: &str = "
    select id, product_no, name, nickname, enabled, sealed_secret, created_at, active_at, online_at
      from device where id in (select value from json_each($1))";

/// Rides on the primary key of `device_module`.
pub(crate) const VERSIONS: &str = "
    select m.device_id, m.module, m.version, m.at from json_each($1) j
     cross join device_module m where m.device_id = j.value";

/// Rides on `unique (key)` of `product` and `device_name (product_no, name)`. $1 holds arrays of key, name.
pub(crate) const AUTH: &str = "
    select j.key as place, d.id, p.account_id, d.enabled, d.sealed_secret
      from jsonb_each($1) j
     cross join product p cross join device d
     where p.key = j.value ->> 0 and d.product_no = p.no and d.name = j.value ->> 1";

/// Rides on the primary keys of `device`, of which it reads a shard, and of `product`.
pub(crate) const SEEN_SINCE: &str = "
    select d.id, p.key, d.name, d.online_at
      from device d cross join product p
     where d.id between $1 and $2 and d.online_at >= $3 and d.enabled = 1 and p.no = d.product_no
     order by d.id";

/// Rides on the primary key of `device`. $1 holds arrays of id, first and last
/// instant.
pub(crate) const CONNECTED: &str = "
    update device
       set active_at = min(coalesce(active_at, c.first), c.first),
           online_at = max(coalesce(online_at, c.last), c.last)
      from (select j.value ->> 0 as id, j.value ->> 1 as first, j.value ->> 2 as last from jsonb_each($1) j) c
     where device.id = c.id";

/// Rides on `device_name (product_no, name)` and the primary key of `device_module`. Lines of: place in
/// $3, id, version or nothing.
pub(crate) const RESOLVE: &str = "
    select group_concat(j.key || ' ' || d.id || ' ' || coalesce(m.version, ''), char(10))
      from json_each($3) j
     cross join device d
      left join device_module m on m.device_id = d.id and m.module = $2
     where d.product_no = $1 and d.name = j.value";

/// Rides on `device_name (product_no, name)` and the primary key of `device_module`. Lines of: id, name,
/// version or nothing.
pub(crate) const SCAN: &str = "
    select group_concat(s.id || ' ' || s.name || ' ' || coalesce(m.version, ''), char(10))
      from (select id, name from device
             where product_no = $1 and name > $3 and (id & 281474976710655) <= $4
             order by name limit $5) s
      left join device_module m on m.device_id = s.id and m.module = $2";

/// Rides on the primary keys of `device` and `device_gone`. Lines of: id, name.
pub(crate) const NAMES: &str = "
    select group_concat(d.id || ' ' || d.name, char(10)) from
        (select d.id, d.name from json_each($1) j cross join device d where d.id = j.value
          union all
         select g.id, g.name from json_each($1) j cross join device_gone g where g.id = j.value) d";
