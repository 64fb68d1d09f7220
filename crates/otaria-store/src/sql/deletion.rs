//! What is deleted, and what stays of it.

/// Rides on the primary key of `device`.
pub(crate) const ENABLE: &str = "update device set enabled = $2 where id = $1";

/// Rides on the primary key of `device`.
pub(crate) const DEVICE: &str = "delete from device where id = $1 returning product_no, name";

/// Appends to `device_gone`.
pub(crate) const KEEP_NAME: &str =
    "insert into device_gone (id, product_no, name, deleted_at) values ($1, $2, $3, $4)";

/// Rides on `task_open (device_id, module) where open = 1`. Lines of: task, status.
pub(crate) const OPEN_TASKS: &str = "
    select group_concat(t.id || ' ' || t.status, char(10))
      from (select id, status from task where device_id = $1 and open = 1 order by id) t";

/// Rides on the primary key of `device_module`.
pub(crate) const FORGET_VERSIONS: &str =
    "delete from device_module where device_id = $1 returning module, version";

/// Rides on the primary key of `device_gone`, which is small.
pub(crate) const ANY_GONE: &str = "select exists (select 1 from device_gone)";

/// Rides on the primary key of `device_gone`.
pub(crate) const GONE: &str = "
    select exists (select 1 from json_each($1) j cross join device_gone g where g.id = j.value)";

/// Rides on the primary key of `device_gone`, `task_device (device_id, (id >> 32))`, `job_part (product_no,
/// part_count) where …` and the primary key of `job_past`.
pub(crate) const FORGET_DEVICES: &str = "
    delete from device_gone where id in
        (select id from device_gone g
          where g.deleted_at < $2
            and not exists (select 1 from task t where t.device_id = g.id)
            and not exists (select 1 from job j cross join job_past p
                             where j.product_no = g.product_no and j.part_count > 0 and j.live = 1
                               and p.job_no = j.no and p.device_id = g.id)
          limit $1)";

/// Rides on the primary key of `product`.
pub(crate) const PRODUCT: &str = "select device_count from product where no = $1 and gone_name is null";

/// Rides on `job_product (product_no) where live = 1`.
pub(crate) const JOBS_OF_PRODUCT: &str =
    "select exists (select 1 from job where product_no = $1 and live = 1)";

/// Rides on the primary key of `product`.
pub(crate) const HIDE_PRODUCT: &str =
    "update product set gone_name = name, name = 'gone/' || no where no = $1";

/// Rides on the primary key of `ota_module`.
pub(crate) const MODULES: &str = "delete from ota_module where product_no = $1";

/// Rides on `firmware_product (product_no)`.
pub(crate) const FIRMWARE_OF_PRODUCT: &str = "
    select group_concat(no, char(10)) from firmware where product_no = $1 and gone_name is null";

/// Rides on `unique (id)` of `firmware`.
pub(crate) const FIRMWARE: &str =
    "select no from firmware where id = $1 and account_id = $2 and gone_name is null";

/// Rides on `job_firmware (firmware_no)`.
pub(crate) const JOBS_OF_FIRMWARE: &str =
    "select exists (select 1 from job where firmware_no = $1 and live = 1)";

/// Rides on the primary key of `firmware`.
pub(crate) const HIDE_FIRMWARE: &str = "
    update firmware set gone_name = name, name = 'gone/' || no
     where no in (select value from json_each($1))";

/// Rides on the primary key of `firmware_upload` by a scan: there are few.
pub(crate) const RELEASE_UPLOADS: &str =
    "delete from firmware_upload where firmware_no in (select value from json_each($1))";

/// Rides on `firmware_gone (no) where gone_name is not null` and `job_firmware (firmware_no)`.
pub(crate) const FORGET_FIRMWARE: &str = "
    delete from firmware
     where gone_name is not null and not exists (select 1 from job j where j.firmware_no = firmware.no)";
