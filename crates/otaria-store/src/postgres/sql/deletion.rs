//! What is deleted, and what stays of it.

/// Rides on the primary key of `device`.
pub(crate) const PRODUCT_OF_DEVICE: &str = "select product_no from device where id = $1";

/// Rides on `task_open (device_id, module) where open`.
pub(crate) const OPEN_TASKS: &str = "select job_no from task where device_id = $1 and open order by job_no";

/// Rides on the primary key of `device_gone`.
pub(crate) const GONE: &str = "
    select exists (select 1 from unnest($1::bigint[]) u (id) cross join device_gone g where g.id = u.id)";

/// Rides on `firmware_product (product_no)`.
pub(crate) const FIRMWARE_OF_PRODUCT: &str =
    "select no from firmware where product_no = $1 and gone_name is null order by no for no key update";

/// Rides on `unique (id)` of `firmware`. Held, so that no job of it is made meanwhile.
pub(crate) const FIRMWARE: &str = "
    select no from firmware where id = $1 and account_id = $2 and gone_name is null for no key update";

/// Rides on the primary key of `firmware`.
pub(crate) const HIDE_FIRMWARE: &str =
    "update firmware set gone_name = name, name = 'gone/' || no where no = any($1)";

/// Rides on `firmware_upload_firmware (firmware_no)`.
pub(crate) const RELEASE_UPLOADS: &str = "delete from firmware_upload where firmware_no = any($1)";

/// Rides on `upload_age (created_at)`, the primary keys of `upload` and `firmware_upload`, and
/// `job_file (file_url)`.
pub(crate) const EXPIRE_UPLOADS: &str = "
    delete from upload where url in
        (select u.url from upload u
          where u.created_at < $1
            and not exists (select 1 from firmware_upload f where f.url = u.url)
            and not exists (select 1 from job j where j.file_url = u.url and j.live = 1)
          order by u.created_at limit $2 for update skip locked)
    returning url, account_id, kind, object, size, md5, sha256, lines, created_at";

/// Rides on the primary key of `firmware_upload`.
pub(crate) const USE_UPLOADS: &str = "
    insert into firmware_upload (url, firmware_no) select u.url, $2 from unnest($1::text[]) u (url)
        on conflict do nothing";
