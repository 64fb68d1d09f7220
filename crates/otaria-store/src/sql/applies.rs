//! Batches of names.

/// Rides on the primary key of `product`.
pub(crate) const PRODUCT_OF: &str =
    "select exists (select 1 from product where no = $1 and account_id = $2 and gone_name is null)";

/// Appends to `apply`.
pub(crate) const NEW: &str = "
    insert into apply (account_id, product_no, names, refused, created_at) values ($1, $2, $3, $4, $5)
    returning no";

/// Rides on the primary key of `apply`. $2: an account, or null for any.
pub(crate) const APPLY: &str = "
    select no, account_id, product_no, names, refused, devices, created_at from apply
     where no = $1 and ($2 is null or account_id = $2)";

/// Rides on the primary key of `apply`.
pub(crate) const REGISTERED: &str = "update apply set devices = $2 where no = $1";

/// Rides on `apply_age (created_at)`.
pub(crate) const PURGE: &str = "
    delete from apply where no in
        (select no from apply where created_at < $1 order by created_at limit $2)";
