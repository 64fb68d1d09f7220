-- As many open tasks as FLEET says, all of one product, one a device: jobs that wait, each of BACKLOG tasks or so over the
-- whole fleet, and the job that is pushed, the last one, of about PUSHED. Into the tables and indexes of the product
-- itself, each job in the order in which an expansion writes it.

set synchronous_commit = off;
set work_mem = '256MB';
set max_parallel_workers_per_gather = 0;

insert into product (no, account_id, key, name, description, node_type, sealed_secret, created_at)
values (1, 1, 'a1Le6d0abcd', 'rows', '', 0, '', 0);
insert into firmware (no, id, account_id, product_no, name, dest_version, module, description, asked_files, files,
                      sign_method, need_to_verify, udi, status, created_at, modified_at)
values (1, 'rows', 1, 1, 'rows', '2.0.0', '', '', '[]', '[]', 'Md5', 0, '', -1, 0, 0);
insert into job (no, id, account_id, product_no, firmware_no, kind, target, maximum_per_minute, overwrite, multi_module,
                 need_push, need_confirm, download_protocol, tags, description, digest, source, upto, status,
                 created_at, modified_at)
select n, 'job' || n, 1, 1, 1, 1, '', 1000, 1, 0, 1, 0, 'HTTPS', '[]', '', '', 0, FLEET, 1, 0, 0
  from generate_series(1, FLEET / BACKLOG + 1) n;
insert into job_source (job_no, complete) select no, 1 from job;

-- Shards and jobs are drawn by hashes of the device's number.
insert into task (device_id, job_no, id, created_at, status, open, module, src_version)
select device, job, job << 32 | row_number() over (partition by job order by device), 0, 1, true, '', '1.0.0'
  from (select (hashint8extended(n, 1) & 255) << 48 | n as device,
               case when (hashint8extended(n, 2) & 9223372036854775807) % FLEET < PUSHED then FLEET / BACKLOG + 1
                    else (hashint8extended(n, 3) & 9223372036854775807) % (FLEET / BACKLOG) + 1 end as job
          from generate_series(1::bigint, FLEET) n) drawn
 order by job, device;

insert into job_counter (job_no, slot, status, n) select job_no, 0, 1, count(*) from task group by job_no;

-- What was just written must not be the measurement's work. A vacuum comes after so many changes as are a share of the
-- table, so the smaller one would meet it and the larger one would not.
alter table task set (autovacuum_enabled = off);
vacuum (freeze, analyze);
checkpoint;
