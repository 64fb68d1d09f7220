-- What Otaria keeps. Instants are unix milliseconds; names of kinds and statuses are the numbers of
-- otaria-core. Rows of tasks are narrow while they wait: 0, 1 and null take no room beside a header byte.

create table account (
    no integer primary key autoincrement,
    name text not null unique,
    created_at bigint not null
);
insert into account (no, name, created_at) values (1, 'default', 0);

create table access_key (
    id text not null primary key,
    account_id bigint not null references account (no),
    role text not null check (role in ('VIEWER', 'OPERATOR', 'ADMIN')),
    active smallint not null check (active in (0, 1)),
    sealed_secret blob not null,
    created_at bigint not null
);
create index access_key_account on access_key (account_id, id);

create table product (
    no integer primary key autoincrement,
    account_id bigint not null references account (no),
    key text not null unique,
    name text not null,
    description text not null,
    node_type smallint not null,
    sealed_secret blob not null,
    device_count bigint not null default 0,
    created_at bigint not null,
    unique (account_id, name)
);

-- The last number drawn: `device` is the membership sequence.
create table sequence (
    name text not null primary key,
    last bigint not null
);
insert into sequence (name, last) values ('device', 0);

-- id = shard << 48 | n
create table device (
    id integer primary key,
    product_no bigint not null,
    name text not null,
    nickname text,
    enabled smallint not null default 1 check (enabled in (0, 1)),
    sealed_secret blob not null,
    created_at bigint not null,
    active_at bigint,
    online_at bigint
);
create unique index device_name on device (product_no, name);

-- The module `default` is the empty text, here and in every other table.
create table device_module (
    device_id bigint not null,
    module text not null,
    version text not null,
    at bigint not null,
    report_session bigint not null,
    report_n bigint not null,
    primary key (device_id, module)
) without rowid;

create table upload (
    url text not null primary key,
    account_id bigint not null references account (no),
    kind text not null check (kind in ('package', 'list')),
    object text not null,
    size bigint not null,
    md5 text not null,
    sha256 text not null,
    lines bigint not null,
    created_at bigint not null
);
create index upload_age on upload (created_at);

create table firmware (
    no integer primary key autoincrement,
    id text not null unique,
    account_id bigint not null references account (no),
    product_no bigint not null references product (no),
    name text not null,
    dest_version text not null,
    src_version text,
    module text not null,
    description text not null,
    asked_files text not null,
    files text not null,
    sign_method text not null,
    need_to_verify smallint not null,
    udi text not null,
    status smallint not null check (status between -1 and 3),
    created_at bigint not null,
    modified_at bigint not null,
    unique (account_id, name)
);
create index firmware_account on firmware (account_id, no);

-- Which uploads a firmware is made of.
create table firmware_upload (
    url text not null,
    firmware_no bigint not null references firmware (no),
    primary key (url, firmware_no)
) without rowid;

create table job (
    no integer primary key autoincrement,
    id text not null unique,
    account_id bigint not null references account (no),
    product_no bigint not null references product (no),
    firmware_no bigint not null references firmware (no),
    kind smallint not null check (kind between 0 and 2),
    target text not null,
    file_url text,
    schedule_start bigint,
    schedule_finish bigint,
    maximum_per_minute bigint not null,
    retry_interval bigint,
    retry_count smallint,
    timeout bigint,
    offer_timeout bigint,
    overwrite smallint not null check (overwrite in (1, 2)),
    multi_module smallint not null check (multi_module in (0, 1)),
    need_push smallint not null check (need_push in (0, 1)),
    need_confirm smallint not null check (need_confirm in (0, 1)),
    download_protocol text not null,
    tags text not null,
    description text not null,
    client_token text,
    digest blob not null,
    source smallint not null check (source between 0 and 2),
    source_object text,
    source_size bigint,
    upto bigint not null,
    status smallint not null check (status between 0 and 4),
    cancel_mask bigint not null default 0,
    cancel_cause smallint,
    cancel_seq bigint not null default 0,
    fence bigint not null default 0,
    rate_version bigint not null default 0,
    live smallint default 1,
    created_at bigint not null,
    modified_at bigint not null,
    started_at bigint,
    ended_at bigint
);
create index job_account on job (account_id, no);
create index job_firmware on job (firmware_no);
create unique index job_token on job (account_id, client_token) where client_token is not null;
create index job_file on job (file_url) where file_url is not null;
-- Not ended, or not fully expanded, or not fully cancelled.
create index job_live on job (no) where live = 1;
create index job_ended on job (ended_at) where ended_at is not null;

-- Moves with every slice; apart from `job`, which everybody reads.
create table job_source (
    job_no integer primary key references job (no),
    cursor_offset bigint not null default 0,
    cursor_slice bigint not null default 0,
    cursor_after text,
    complete smallint not null default 0 check (complete in (0, 1)),
    lines bigint not null default 0,
    tasks bigint not null default 0,
    skipped bigint not null default 0,
    malformed bigint not null default 0,
    unknown bigint not null default 0,
    duplicate bigint not null default 0,
    busy bigint not null default 0
);

-- Devices of a running expansion that need no task; removed when it is complete.
create table job_skip (
    job_no bigint not null,
    device_id bigint not null,
    primary key (job_no, device_id)
) without rowid;

-- id = job_no << 32 | place among the job's rejected lines
create table job_reject (
    id integer primary key,
    cause smallint not null,
    line text not null
);

-- id = job_no << 32 | seq, so a job's tasks lie together in the order in which they were made.
-- open is 1 or null, so that ended tasks are in no index but the first.
-- retry_at: null is no retry, 0 is one that waits for device and pace.
-- deadline_at: the offer's deadline while notified, the timeout while in progress.
create table task (
    id integer primary key,
    device_id bigint not null,
    module text not null,
    status smallint not null,
    open smallint,
    revision bigint not null,
    created_at bigint not null,
    src_version text,
    cause smallint,
    modified_at bigint,
    attempts smallint not null default 0,
    offered_at bigint,
    delivery smallint,
    delivery_at bigint,
    deadline_at bigint,
    retry_at bigint,
    percent smallint,
    due_at bigint,
    notices bigint not null default 0,
    report_session bigint not null default 0,
    report_n bigint not null default 0,
    words text
);
create unique index task_device on task (device_id, (id >> 32));
create unique index task_open on task (device_id, module) where open = 1;
create index task_due on task (due_at) where due_at is not null;

-- status 0 to 6 counts tasks, 7 counts notices.
create table job_counter (
    job_no bigint not null,
    shard smallint not null,
    status smallint not null,
    n bigint not null,
    primary key (job_no, shard, status)
) without rowid;

create table member (
    id integer primary key autoincrement,
    expires_at bigint not null
);

create table shard_lease (
    shard smallint not null primary key check (shard between 0 and 255),
    member_id bigint not null,
    epoch bigint not null
);

create table periodic_run (
    work text not null primary key,
    member_id bigint not null,
    began_at bigint not null
);
