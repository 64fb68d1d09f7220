//! Modules of products.

/// Rides on the primary key of `product`.
pub(crate) const PRODUCT_IS_THERE: &str =
    "select exists (select 1 from product where no = $1 and gone_name is null)";

/// Appends to `ota_module`.
pub(crate) const NEW: &str = "
    insert into ota_module (product_no, key, name, alias, description, created_at, modified_at)
    values ($1, $2, $3, $4, $5, $6, $7)";

/// Rides on the primary key of `ota_module`.
pub(crate) const COUNT: &str = "select count(*) from ota_module where product_no = $1";

/// Rides on the primary key of `ota_module`.
pub(crate) const UPDATE: &str = "
    update ota_module
       set alias = coalesce($3, alias), description = coalesce($4, description), modified_at = $5
     where product_no = $1 and key = $2";

/// Rides on the primary key of `ota_module`.
pub(crate) const DELETE: &str = "delete from ota_module where product_no = $1 and key = $2";

/// Rides on the primary key of `ota_module`.
pub(crate) const MODULES: &str = "
    select product_no, name, alias, description, created_at, modified_at
      from ota_module where product_no = $1 order by key";
