-- Groups, parts of fleets, modules, batches of names, and what stays of things that were deleted.

insert into sequence (name, last) values ('group', 0);

-- A deleted group has no name; it goes when its members have gone.
create table device_group (
    no integer primary key autoincrement,
    id text not null unique,
    account_id bigint not null references account (no),
    name text,
    description text not null,
    parent_no bigint,
    device_count bigint not null default 0,
    created_at bigint not null,
    unique (account_id, name)
);
create index device_group_account on device_group (account_id, no);
create index device_group_parent on device_group (parent_no) where parent_no is not null;

-- added, removed: numbers of the sequence `group`. Who was in at number n: added <= n and not removed by n.
create table group_member (
    group_no bigint not null,
    device_id bigint not null,
    added bigint not null,
    removed bigint,
    primary key (group_no, device_id, added)
) without rowid;
create index group_member_device on group_member (device_id) where removed is null;
create index group_member_removed on group_member (removed) where removed is not null;

-- A part of the product's devices: how many match, how many are in, and the last one in (rank as a signed
-- number). A group: which, and its membership number when the job was made. Both have `source` 2.
alter table job add column part_matching bigint;
alter table job add column part_count bigint;
alter table job add column part_rank bigint;
alter table job add column part_device bigint;
alter table job add column group_no bigint;
alter table job add column group_upto bigint;
create index job_part on job (product_no, part_count) where part_count is not null and live = 1;
create index job_group on job (group_no) where group_no is not null and live = 1;
create index job_product on job (product_no) where live = 1;

-- While a part is drawn and expanded: versions that devices had when the job was made and have no more.
create table job_past (
    job_no bigint not null,
    device_id bigint not null,
    version text,
    primary key (job_no, device_id)
) without rowid;

-- How many devices of a product informed which version of a module: moves in the reports' transaction.
create table version_count (
    product_no bigint not null,
    module text not null,
    version text not null,
    n bigint not null,
    primary key (product_no, module, version)
) without rowid;
insert into version_count (product_no, module, version, n)
select d.product_no, m.module, m.version, count(*)
  from device_module m cross join device d where d.id = m.device_id
 group by d.product_no, m.module, m.version;

-- Deleted devices of which tasks or draws still speak.
create table device_gone (
    id integer primary key,
    product_no bigint not null,
    name text not null,
    deleted_at bigint not null
);
create index device_gone_name on device_gone (product_no, name);

-- Of a deleted one the name that it had; its own is made free by putting `gone/{no}` there.
alter table product add column gone_name text;
alter table firmware add column gone_name text;
create index firmware_gone on firmware (no) where gone_name is not null;
create index firmware_product on firmware (product_no);

-- key: the name in lower case.
create table ota_module (
    product_no bigint not null references product (no),
    key text not null,
    name text not null,
    alias text not null,
    description text not null,
    created_at bigint not null,
    modified_at bigint not null,
    primary key (product_no, key)
) without rowid;

-- names: JSON arrays of name, nickname or null. refused: of name, nickname or null, reason. devices: ids or
-- null in the order of names; null altogether while they are not registered.
create table apply (
    no integer primary key autoincrement,
    account_id bigint not null references account (no),
    product_no bigint not null references product (no),
    names text not null,
    refused text not null,
    devices text,
    created_at bigint not null
);
create index apply_age on apply (created_at);
