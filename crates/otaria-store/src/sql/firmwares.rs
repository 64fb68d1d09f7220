//! Uploads and firmware.

/// Appends to `upload`.
pub(crate) const NEW_UPLOAD: &str = "
    insert into upload (url, account_id, kind, object, size, md5, sha256, lines, created_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Rides on the primary key of `upload`.
pub(crate) const UPLOAD: &str = "
    select url, account_id, kind, object, size, md5, sha256, lines, created_at
      from upload where url = $1 and account_id = $2";

/// Rides on `upload_age (created_at)`, the primary key of `firmware_upload` and `job_file (file_url)`.
pub(crate) const OLD_UPLOADS: &str = "
    select url, account_id, kind, object, size, md5, sha256, lines, created_at from upload u
     where created_at < $1
       and not exists (select 1 from firmware_upload f where f.url = u.url)
       and not exists (select 1 from job j where j.file_url = u.url and j.live = 1)
     order by created_at limit $2";

/// Rides on the primary key of `upload`.
pub(crate) const DELETE_UPLOADS: &str = "delete from upload where url in (select value from json_each($1))";

/// Rides on the primary key of `product`.
pub(crate) const PRODUCT_OF: &str = "select exists (select 1 from product where no = $1 and account_id = $2)";

/// Rides on `firmware_account (account_id, no)`.
pub(crate) const COUNT: &str = "select count(*) from firmware where account_id = $1";

/// Appends to `firmware`.
pub(crate) const NEW_FIRMWARE: &str = "
    insert into firmware (id, account_id, product_no, name, dest_version, src_version, module, description,
                          asked_files, files, sign_method, need_to_verify, udi, status, created_at, modified_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)
    returning no";

/// Rides on the primary key of `firmware_upload`.
pub(crate) const USE_UPLOADS: &str = "
    insert into firmware_upload (url, firmware_no)
    select value, $2 from json_each($1) where true on conflict do nothing";

macro_rules! firmware {
    ($rest:literal) => {
        concat!(
            "select f.no, f.id, f.account_id, f.product_no, p.key, f.name, f.dest_version, f.src_version,
                    f.module, f.description, f.asked_files, f.files, f.sign_method, f.need_to_verify, f.udi,
                    f.status, f.created_at, f.modified_at
               from firmware f join product p on p.no = f.product_no ",
            $rest
        )
    };
}

/// Rides on `unique (id)` of `firmware`.
pub(crate) const FIRMWARE: &str = firmware!("where f.id = $1 and f.account_id = $2");

/// Rides on the primary key of `firmware`.
pub(crate) const FIRMWARE_BY_NO: &str = firmware!("where f.no = $1");

/// Rides on `firmware_account (account_id, no)`.
pub(crate) const FIRMWARES: &str = firmware!(
    "where f.account_id = $1 and f.no > $2 and ($3 is null or p.key = $3)
       and ($4 is null or f.dest_version = $4)
     order by f.no limit $5"
);

/// Rides on `firmware_account (account_id, no)`.
pub(crate) const COUNT_MATCHING: &str = "
    select count(*) from firmware f join product p on p.no = f.product_no
     where f.account_id = $1 and ($2 is null or p.key = $2) and ($3 is null or f.dest_version = $3)";
