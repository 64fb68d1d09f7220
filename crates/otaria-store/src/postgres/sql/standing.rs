//! Dynamic jobs: which take devices of a product.

/// Rides on `job_strategy (product_no, no) where strategy = 1` and the primary keys. The latest first.
pub(crate) const STRATEGIES: &str = "
    select j.no, j.product_no, p.key, j.kind, f.module, f.dest_version, f.src_version, j.target, j.dynamic_mode,
           j.expression, j.overwrite, j.multi_module, j.need_confirm
      from unnest($1::bigint[]) v (product)
     cross join job j
      join product p on p.no = j.product_no
      join firmware f on f.no = j.firmware_no
     where j.product_no = v.product and j.strategy = 1
     order by j.no desc";

/// Rides on the primary key of `job_source`. Holds the cursors, in their order.
pub(crate) const HOLD_CURSORS: &str =
    "select job_no from job_source where job_no = any ($1) order by job_no for update";
