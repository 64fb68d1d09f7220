-- Dynamic jobs and dynamic groups.

-- A dynamic job: which devices (1 now and later, 2 later), the group and its rule if it is for one. strategy is
-- 1 while it takes devices.
alter table job add column dynamic_mode smallint;
alter table job add column standing_group bigint;
alter table job add column expression text;
alter table job add column strategy smallint;
create index job_strategy on job (product_no, no) where strategy = 1;
create unique index job_strategy_firmware on job (firmware_no) where strategy = 1;
create index job_strategy_group on job (standing_group) where strategy = 1 and standing_group is not null;

-- Of a dynamic group: its rule.
alter table device_group add column expression text;
