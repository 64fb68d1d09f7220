//! Jobs: how they are made, how they move, and how they go.

use otaria_core::firmware::FirmwareStatus;
use otaria_core::ids::{AccountNo, ClientToken, JobId, JobNo, ProductKey};
use otaria_core::job::{CancelFlags, JobStatus, Tag, Target};
use otaria_core::task::{CancelCause, TaskStatus};

use super::assert_refused;
use super::world::{World, at, device_name, new_firmware, new_job, slice, version};
use crate::store::{
    CreateJob, CreatedJob, Expansion, Job, JobMove, RejectCause, RejectedLine, Rejections, Slice, SourceKind,
    Store,
};

fn id(text: &str) -> JobId {
    JobId::parse(text).unwrap()
}

fn token(text: &str) -> Option<ClientToken> {
    Some(ClientToken::parse(text).unwrap())
}

fn step(job: &Job, from: JobStatus, to: JobStatus) -> JobMove {
    JobMove { job: job.no, from, to, only_if_done: false, fence: false, firmware: None }
}

/// A job is kept as it came, not expanded, and takes in the devices that are there.
pub async fn a_job_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let mut create = new_job(&world.firmware, "job1");
    create.status = JobStatus::Planned;
    create.source = SourceKind::File { object: "list/1".into(), size: 77 };
    create.new.target = Target::ListFile { file_url: "https://files/list".into() };
    create.new.schedule.start = Some(at(400));
    create.new.tags =
        vec![Tag { key: "b".into(), value: "2".into() }, Tag { key: "a".into(), value: "1".into() }];
    create.new.description = "words".into();
    create.new.policy.timeout = None;

    let CreatedJob::New(job) = store.create_job(&create, at(5)).await.unwrap() else { panic!("new") };
    assert_eq!((&job.id, job.account, &job.new), (&create.id, create.account, &create.new));
    assert_eq!((job.product, job.firmware), (world.product.no, world.firmware.no));
    assert_eq!((job.status, &job.source), (JobStatus::Planned, &create.source));
    assert!(devices.iter().all(|device| device.n() <= job.upto));
    assert_eq!((&job.expansion, job.canceling), (&Expansion::default(), None));
    assert_eq!((job.created_at, job.modified_at), (at(5), at(5)));
    assert_eq!((job.started_at, job.ended_at), (None, None));
    assert_eq!(store.job(job.account, &job.id).await.unwrap(), Some(*job.clone()));
    assert_eq!(store.task_counts(job.no).await.unwrap().total(), 0);

    let running = world.make(&new_job(&world.firmware, "job2")).await;
    assert_eq!(running.started_at, Some(at(0)));
    assert!(running.no > job.no);
    assert_eq!(
        store.jobs_by_no(&[running.no, JobNo(running.no.0 + 1), job.no]).await.unwrap(),
        [*job, running]
    );
}

/// A target of any kind survives.
pub async fn every_kind_of_target_is_kept(store: &dyn Store) {
    let world = World::new(store).await;
    let targets = [
        Target::All { src_versions: vec![version("1.0"), version("0.9")] },
        Target::Names(vec![device_name(3), device_name(1)]),
        Target::ListFile { file_url: "https://files/list".into() },
        Target::Gray {
            percent: otaria_core::gray::GrayPercent::parse("33.333").unwrap(),
            src_versions: vec![version("1.0")],
        },
        Target::Group { group_id: "group1".into() },
    ];
    for (n, target) in targets.into_iter().enumerate() {
        let mut create = new_job(&world.firmware, &format!("job{n}"));
        create.new.target = target;
        let job = world.make(&create).await;
        assert_eq!(world.reread(&job).await.new, create.new);
    }
}

/// Another account's job is as good as none, and jobs are paged by number in their account.
pub async fn a_job_belongs_to_its_account(store: &dyn Store) {
    let world = World::new(store).await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    let other = World::of_account(store, account, "a1Other").await;
    let mut ours = Vec::new();
    for n in 0..5 {
        ours.push(world.make(&new_job(&world.firmware, &format!("our{n}"))).await);
        other.make(&new_job(&other.firmware, &format!("their{n}"))).await;
    }
    assert_eq!(store.job(account, &ours[0].id).await.unwrap(), None);
    assert_eq!(store.job(world.account, &id("nobody")).await.unwrap(), None);
    let first = store.jobs(world.account, JobNo(0), 2).await.unwrap();
    assert_eq!(first, ours[..2]);
    assert_eq!(store.jobs(world.account, first[1].no, 100).await.unwrap(), ours[2..]);
}

/// The same token and body make one job, however often they come (I12).
pub async fn the_same_token_and_body_make_one_job(store: &dyn Store) {
    let world = World::new(store).await;
    let mut create = new_job(&world.firmware, "job1");
    create.new.client_token = token("token");
    assert_eq!(store.job_by_token(world.account, &token("token").unwrap()).await.unwrap(), None);
    let first = world.make(&create).await;
    world.expand_all(&first, &[]).await;
    assert!(store.move_job(&step(&first, JobStatus::InProgress, JobStatus::Completed), at(7)).await.unwrap());

    // The caller has drawn another id for its repeat; the job is answered as it is by now.
    let again = CreateJob { id: id("job2"), ..create.clone() };
    let now = world.reread(&first).await;
    let answer = store.create_job(&again, at(9)).await.unwrap();
    assert_eq!(answer, CreatedJob::Before(Box::new(now.clone())));
    assert_eq!(store.job(world.account, &again.id).await.unwrap(), None);
    let kept = store.job_by_token(world.account, &token("token").unwrap()).await.unwrap();
    assert_eq!(kept, Some((now, create.digest)));

    let other =
        CreateJob { new: otaria_core::job::NewJob { client_token: token("Token"), ..create.new }, ..again };
    assert!(matches!(store.create_job(&other, at(9)).await.unwrap(), CreatedJob::New(_)));
}

/// The same token with another body is refused; another account's token is its own.
pub async fn the_same_token_with_another_body_is_refused(store: &dyn Store) {
    let world = World::new(store).await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    let other = World::of_account(store, account, "a1Other").await;
    let mut create = new_job(&world.firmware, "job1");
    create.new.client_token = token("token");
    let first = world.make(&create).await;

    let changed = CreateJob { id: id("job2"), digest: [7; 32], ..create };
    assert_refused!(store.create_job(&changed, at(9)).await, Exists);
    assert_eq!(store.jobs(world.account, JobNo(0), 9).await.unwrap(), [first]);

    let mut theirs = new_job(&other.firmware, "job3");
    theirs.new.client_token = token("token");
    other.make(&theirs).await;
}

/// A job is made only while its firmware is in the expected status, and moves it along.
pub async fn a_new_job_moves_its_firmware_along(store: &dyn Store) {
    use FirmwareStatus::{NotVerified, VerificationFailed, Verifying};

    let world = World::new(store).await;
    let new = new_firmware(&world.product, "fwNew", "default", NotVerified);
    let firmware = store.create_firmware(&new, at(1)).await.unwrap();
    let mut create = new_job(&firmware, "job1");
    create.firmware = (NotVerified, Verifying);
    let status = || async { store.firmware_by_no(firmware.no).await.unwrap().unwrap() };

    world.make(&create).await;
    assert_eq!(status().await.status, Verifying);
    create.id = id("job2");
    assert_refused!(store.create_job(&create, at(2)).await, Conflict);
    create.firmware = (VerificationFailed, Verifying);
    assert_refused!(store.create_job(&create, at(2)).await, Conflict);
    assert_eq!(store.job(world.account, &create.id).await.unwrap(), None);
    assert_eq!(store.unfinished_jobs_of(&firmware.id).await.unwrap(), 1);
}

/// Product and firmware of a job are its account's, and the firmware is the product's.
pub async fn a_job_needs_product_and_firmware_of_its_account(store: &dyn Store) {
    let world = World::new(store).await;
    let second = World::of_account(store, world.account, "a1Second").await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    let other = World::of_account(store, account, "a1Other").await;

    let good = new_job(&world.firmware, "job1");
    let mut bad =
        vec![CreateJob { account, ..good.clone() }, CreateJob { account: AccountNo(99), ..good.clone() }];
    for product in [&second.product.new.key, &other.product.new.key, &ProductKey::parse("a1x").unwrap()] {
        let mut create = good.clone();
        create.new.product = product.clone();
        bad.push(create);
    }
    for firmware in [&other.firmware.id, &second.firmware.id] {
        let mut create = good.clone();
        create.new.firmware = firmware.clone();
        bad.push(create);
    }
    for create in &bad {
        assert_refused!(store.create_job(create, at(1)).await, NotFound);
    }
    world.make(&good).await;
}

/// Names that a caller named are kept with the job, in its order.
pub async fn names_are_kept_with_the_job(store: &dyn Store) {
    let world = World::new(store).await;
    let names: Vec<_> = [5, 3, 8, 1, 4].map(device_name).into();
    let mut create = new_job(&world.firmware, "job1");
    create.new.target = Target::Names(names.clone());
    create.source = SourceKind::Names;
    let job = world.make(&create).await;

    let texts: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(store.job_names(job.no, 0, 2).await.unwrap(), texts[..2]);
    assert_eq!(store.job_names(job.no, 2, 100).await.unwrap(), texts[2..]);
    assert!(store.job_names(job.no, 5, 100).await.unwrap().is_empty());
    let all = world.make(&new_job(&world.firmware, "job2")).await;
    assert!(store.job_names(all.no, 0, 100).await.unwrap().is_empty());
}

/// A job moves from the expected status only, and notes when it began and ended.
pub async fn a_job_moves_from_the_expected_status_only(store: &dyn Store) {
    use JobStatus::{Completed, InProgress, Paused, Planned};

    let world = World::new(store).await;
    let create = CreateJob { status: Planned, ..new_job(&world.firmware, "job1") };
    let job = world.make(&create).await;
    assert!(!store.move_job(&step(&job, InProgress, Paused), at(1)).await.unwrap());
    assert_eq!(world.reread(&job).await, job);
    let nobody = JobMove { job: JobNo(job.no.0 + 1), ..step(&job, Planned, InProgress) };
    assert!(!store.move_job(&nobody, at(1)).await.unwrap());

    assert!(store.move_job(&step(&job, Planned, InProgress), at(2)).await.unwrap());
    assert!(!store.move_job(&step(&job, Planned, InProgress), at(3)).await.unwrap());
    let pause = JobMove { fence: true, ..step(&job, InProgress, Paused) };
    assert!(store.move_job(&pause, at(4)).await.unwrap());
    let paused = world.reread(&job).await;
    assert_eq!((paused.status, paused.fence, paused.modified_at), (Paused, job.fence + 1, at(4)));

    assert!(store.move_job(&step(&job, Paused, InProgress), at(5)).await.unwrap());
    assert!(store.move_job(&step(&job, InProgress, Completed), at(6)).await.unwrap());
    let ended = world.reread(&job).await;
    assert_eq!((ended.started_at, ended.ended_at), (Some(at(2)), Some(at(6))));
    assert!(store.move_job(&step(&job, Completed, InProgress), at(7)).await.unwrap());
    let reopened = world.reread(&job).await;
    assert_eq!((reopened.started_at, reopened.ended_at), (Some(at(2)), None));
    assert_eq!(reopened.fence, job.fence + 1);
}

/// A job is done when its expansion is complete, nothing is being cancelled and no task is open (I22).
pub async fn a_job_is_done_when_nothing_is_open(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let job = world.make(&new_job(&world.firmware, "job1")).await;
    let done = JobMove { only_if_done: true, ..step(&job, JobStatus::InProgress, JobStatus::Completed) };
    let try_it = || async { store.move_job(&done, at(9)).await.unwrap() };

    assert!(!try_it().await, "not expanded");
    store.expand(&slice(&job, 0, &devices), at(1)).await.unwrap();
    let task = world.put_status(&job, devices[0], TaskStatus::Failed, at(2)).await;
    assert!(!try_it().await, "not fully expanded");
    store.expand(&Slice { complete: true, ..slice(&job, 1, &[]) }, at(3)).await.unwrap();
    world.put_status(&job, devices[0], TaskStatus::Queued, at(4)).await;
    assert!(!try_it().await, "a task is open");
    assert_eq!(world.reread(&job).await.status, JobStatus::InProgress);

    let mask = CancelFlags::EVERYTHING.mask();
    store.request_cancel(job.no, mask, CancelCause::Operator, at(5)).await.unwrap();
    world.put_status(&job, devices[0], TaskStatus::Succeeded, at(6)).await;
    assert_eq!(world.task_again(&task.key).await.state.status(), TaskStatus::Succeeded);
    assert!(!try_it().await, "being cancelled");
    assert!(store.sweep_cancel(job.no, 10, at(7)).await.unwrap().done);
    assert!(try_it().await);
    assert!(!try_it().await, "completed already");
    assert_eq!(world.reread(&job).await.ended_at, Some(at(9)));
}

/// A move that takes the firmware along happens as a whole or not at all.
pub async fn a_job_move_takes_its_firmware_along(store: &dyn Store) {
    use FirmwareStatus::{NotVerified, Verified, Verifying};

    let world = World::new(store).await;
    let new = new_firmware(&world.product, "fwNew", "default", NotVerified);
    let firmware = store.create_firmware(&new, at(1)).await.unwrap();
    let mut create = new_job(&firmware, "job1");
    create.firmware = (NotVerified, Verifying);
    let job = world.run(&create, &[]).await;
    let end = step(&job, JobStatus::InProgress, JobStatus::Completed);

    let wrong = JobMove { firmware: Some((NotVerified, Verified)), ..end.clone() };
    assert_refused!(store.move_job(&wrong, at(2)).await, Conflict);
    assert_eq!(world.reread(&job).await, job);

    let right = JobMove { firmware: Some((Verifying, Verified)), ..end };
    assert!(store.move_job(&right, at(3)).await.unwrap());
    let firmware = store.firmware_by_no(firmware.no).await.unwrap().unwrap();
    assert_eq!((firmware.status, firmware.modified_at), (Verified, at(3)));
    // A repeat is told that the job is elsewhere, not that the firmware is.
    assert!(!store.move_job(&right, at(4)).await.unwrap());
}

/// A job is unfinished until it has ended, is fully expanded, and nothing of it is being cancelled.
pub async fn unfinished_jobs_are_those_with_work(store: &dyn Store) {
    let world = World::new(store).await;
    let unfinished = || async {
        let jobs = store.unfinished_jobs().await.unwrap();
        jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>()
    };
    let create = |name, status| CreateJob { status, ..new_job(&world.firmware, name) };
    let planned = world.run(&create("planned", JobStatus::Planned), &[]).await;
    let ended = world.make(&create("ended", JobStatus::Canceled)).await;
    let running = world.run(&create("running", JobStatus::InProgress), &[]).await;
    assert_eq!(unfinished().await, ["planned", "ended", "running"]);
    assert_eq!(store.unfinished_jobs_of(&world.firmware.id).await.unwrap(), 2);
    assert_eq!(world.reread(&ended).await.ended_at, Some(at(0)));

    world.expand_all(&ended, &[]).await;
    assert!(
        store.move_job(&step(&running, JobStatus::InProgress, JobStatus::Completed), at(1)).await.unwrap()
    );
    assert_eq!(unfinished().await, ["planned"]);

    store.request_cancel(ended.no, 1, CancelCause::Operator, at(2)).await.unwrap();
    assert!(store.move_job(&step(&planned, JobStatus::Planned, JobStatus::Canceled), at(3)).await.unwrap());
    assert_eq!(unfinished().await, ["ended"]);
    assert!(store.sweep_cancel(ended.no, 10, at(4)).await.unwrap().done);
    assert_eq!(unfinished().await, [""; 0]);
    assert_eq!(store.unfinished_jobs_of(&world.firmware.id).await.unwrap(), 0);
}

/// Jobs that ended lately are found, the latest first; one that was opened again has not ended.
pub async fn ended_jobs_are_those_that_ended_lately(store: &dyn Store) {
    let world = World::new(store).await;
    let ended = |since, limit| async move {
        let jobs = store.ended_jobs(at(since), limit).await.unwrap();
        jobs.into_iter().map(|job| job.id.to_string()).collect::<Vec<_>>()
    };
    let mut jobs = Vec::new();
    for (name, end) in [("early", 10), ("late", 20), ("open", 30), ("running", 0)] {
        let create = CreateJob { status: JobStatus::InProgress, ..new_job(&world.firmware, name) };
        let job = world.run(&create, &[]).await;
        if end > 0 {
            let end_it = step(&job, JobStatus::InProgress, JobStatus::Completed);
            assert!(store.move_job(&end_it, at(end)).await.unwrap());
        }
        jobs.push(job);
    }
    let again = step(&jobs[2], JobStatus::Completed, JobStatus::InProgress);
    assert!(store.move_job(&again, at(31)).await.unwrap());

    assert_eq!(ended(0, 10).await, ["late", "early"]);
    assert_eq!(ended(10, 10).await, ["late", "early"]);
    assert_eq!(ended(11, 10).await, ["late"]);
    assert_eq!(ended(0, 1).await, ["late"]);
    assert_eq!(ended(21, 10).await, [""; 0]);
}

/// An old job goes with all that belongs to it, a few rows at a time; its devices stay, and its token is
/// free.
pub async fn an_old_job_is_removed_with_all_its_rows(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let mut create = new_job(&world.firmware, "job1");
    create.new.client_token = token("token");
    let job = world.make(&create).await;
    let line = RejectedLine { text: "a/b".into(), cause: RejectCause::Malformed };
    let last = Slice {
        complete: true,
        lines: 8,
        rejects: vec![line; 3],
        rejected: Rejections { malformed: 3, ..Rejections::default() },
        ..slice(&job, 0, &devices)
    };
    store.expand(&last, at(1)).await.unwrap();
    for device in &devices {
        world.put_status(&job, *device, TaskStatus::Succeeded, at(2)).await;
    }
    let keys: Vec<_> = world.tasks(&job).await.into_iter().map(|task| task.key).collect();
    assert!(store.move_job(&step(&job, JobStatus::InProgress, JobStatus::Completed), at(10)).await.unwrap());
    let later = world.job("job2", &devices).await;

    assert_eq!(store.purge_jobs(at(10), 100).await.unwrap(), 0);
    let mut removed = 0;
    loop {
        let rows = store.purge_jobs(at(11), 2).await.unwrap();
        assert!(rows <= 2);
        if rows == 0 {
            break;
        }
        removed += rows;
    }
    assert!(removed >= 6, "{removed}");
    assert_eq!(store.job(world.account, &job.id).await.unwrap(), None);
    assert_eq!(store.tasks(&keys).await.unwrap(), []);
    assert_eq!(store.rejected_lines(job.no, 0, 10).await.unwrap(), []);
    assert_eq!(store.task_counts(job.no).await.unwrap().total(), 0);
    world.check(&later).await;
    assert_eq!(world.count(&later, TaskStatus::Queued).await, 5);
    assert_eq!(store.devices(world.product.no, None, 100).await.unwrap().len(), 5);

    create.digest = [9; 32];
    assert!(world.make(&create).await.no > later.no);
}

/// A job that still has work is not removed, however long ago it ended.
pub async fn a_job_with_work_is_not_removed(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..1).await;
    let canceled = |name| CreateJob { status: JobStatus::Canceled, ..new_job(&world.firmware, name) };
    // Its strategy was cancelled; the task that it made goes on.
    world.run(&canceled("open"), &devices).await;
    world.make(&canceled("expanding")).await;
    world.job("running", &[]).await;

    assert_eq!(store.purge_jobs(at(1_000_000), 100).await.unwrap(), 0);
    assert_eq!(store.jobs(world.account, JobNo(0), 10).await.unwrap().len(), 3);
}
