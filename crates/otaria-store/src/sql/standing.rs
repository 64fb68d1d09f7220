//! Dynamic jobs: which take devices of a product.

/// Rides on `job_strategy (product_no, no) where strategy = 1` and the primary keys. The latest first.
pub(crate) const STRATEGIES: &str = "
    select j.no, j.product_no, p.key, j.kind, f.module, f.dest_version, f.src_version, j.target, j.dynamic_mode,
           j.expression, j.overwrite, j.multi_module, j.need_confirm
      from json_each($1) v
     cross join job j indexed by job_strategy
      join product p on p.no = j.product_no
      join firmware f on f.no = j.firmware_no
     where j.product_no = v.value and j.strategy = 1
     order by j.no desc";

/// Rides on the primary key of `job_source`. The place after which new tasks go; $2 of them.
pub(crate) const GROW: &str = "
    update job_source set tasks = tasks + $2, lines = lines + $2 where job_no = $1 returning tasks - $2";
