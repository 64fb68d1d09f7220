-- The last action on many tasks of a job: confirmed or started again, piece by piece. Apart from `job`, since
-- it moves with every piece. action 0 confirms, 1 starts again; statuses: bits 1 << status; causes: JSON array
-- of numbers; seq: the place of the last task that was looked at.
create table job_bulk (
    job_no integer primary key references job (no),
    action smallint not null check (action in (0, 1)),
    statuses bigint not null,
    causes text not null,
    seq bigint not null default 0,
    moved bigint not null default 0,
    passed bigint not null default 0,
    done smallint not null default 0 check (done in (0, 1))
);
