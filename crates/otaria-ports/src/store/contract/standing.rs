//! Dynamic jobs: who joins them, and when (I16).

use otaria_core::expression::GroupExpression;
use otaria_core::firmware::FirmwareStatus;
use otaria_core::ids::{DeviceId, GroupId, JobNo, ModuleName};
use otaria_core::job::{DynamicMode, JobKind, JobStatus, OverwriteMode, Target};
use otaria_core::task::{CancelCause, FailureCause, ReportOrder, TaskState, TaskStatus};

use super::assert_refused;
use super::expansion::assert_replaced;
use super::world::{DEST, World, at, claim, informed, module, new_firmware, new_job, slice, to, version};
use crate::store::{
    CreateJob, Firmware, Group, GroupFilter, Job, JobMove, ModuleVersion, NewGroup, Slice, SourceKind,
    StandingGroup, Store, VersionReport,
};

/// A running dynamic job of a firmware for these source versions.
fn dynamic(firmware: &Firmware, id: &str, mode: DynamicMode, versions: &[&str]) -> CreateJob {
    let mut job = new_job(firmware, id);
    job.new.kind = JobKind::Dynamic;
    job.new.target = Target::All { src_versions: versions.iter().map(|text| version(text)).collect() };
    job.source = SourceKind::Standing { mode, group: None };
    job
}

fn for_group(mut job: CreateJob, group: &Group) -> CreateJob {
    let expression = group.new.expression.clone().unwrap();
    job.new.target = Target::Group { group_id: group.new.id.to_string() };
    job.source = SourceKind::Standing {
        mode: DynamicMode::NowAndLater,
        group: Some(StandingGroup { no: group.no, expression }),
    };
    job
}

async fn second_firmware(world: &World<'_>, id: &str) -> Firmware {
    let new = new_firmware(&world.product, id, ModuleName::DEFAULT, FirmwareStatus::NoVerificationNeeded);
    world.store.create_firmware(&new, at(0)).await.unwrap()
}

async fn rule(world: &World<'_>, id: &str, rule: &str) -> Group {
    let new = NewGroup {
        id: GroupId::parse(id).unwrap(),
        account: world.account,
        name: format!("name of {id}"),
        description: String::new(),
        parent: None,
        expression: Some(GroupExpression::parse(rule).unwrap()),
    };
    world.store.create_group(&new, at(0)).await.unwrap()
}

fn report(device: DeviceId, text: &str, n: u32) -> VersionReport {
    VersionReport {
        version: ModuleVersion {
            device,
            module: module(ModuleName::DEFAULT),
            version: informed(text),
            at: at(1),
        },
        order: ReportOrder { session: 1, n },
    }
}

/// A device informs a version; which jobs it joined.
async fn inform(store: &dyn Store, device: DeviceId, text: &str, n: u32) -> Vec<JobNo> {
    let taken = store.take_reports(&[report(device, text, n)], &[], at(1)).await.unwrap();
    assert!(taken.joined.iter().all(|(_, joined)| *joined == device));
    taken.joined.into_iter().map(|(job, _)| job).collect()
}

async fn cancel_strategy(world: &World<'_>, job: &Job) {
    let change = JobMove {
        job: job.no,
        from: JobStatus::InProgress,
        to: JobStatus::Canceled,
        only_if_done: false,
        fence: false,
        firmware: None,
    };
    assert!(world.store.move_job(&change, at(2)).await.unwrap());
}

/// A device joins when it informs a version that matches, once, whatever it informs later.
pub async fn who_informs_a_matching_version_joins(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let job =
        world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::LaterOnly, &["1.0.0", "1.1.0"])).await;
    assert!(job.expansion.complete, "nobody who was there before is in");
    assert_eq!(world.tasks(&job).await, []);

    assert_eq!(inform(store, devices[0], "1.0.0", 1).await, [job.no]);
    assert_eq!(inform(store, devices[1], "3.0.0", 1).await, []);
    assert_eq!(inform(store, devices[2], DEST, 1).await, []);
    assert_eq!(inform(store, devices[1], "1.1.0", 2).await, [job.no]);
    assert_eq!(inform(store, devices[0], "1.0.0", 2).await, [], "it has a task");
    assert_eq!(inform(store, devices[3], "1.0.0", 5).await, [job.no]);
    assert_eq!(inform(store, devices[4], "1.0.0", 0).await, [job.no]);

    let task = world.task(&job, devices[0]).await;
    assert_eq!((task.state, task.src_version), (TaskState::Queued, Some(informed("1.0.0"))));
    assert_eq!(world.count(&job, TaskStatus::Queued).await, 4);
    world.check(&job).await;
}

/// Several devices in one batch, some twice, some of other modules: each joins once.
pub async fn a_batch_of_reports_joins_device_by_device(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let job = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::LaterOnly, &["1.0.0"])).await;
    let mut other_module = report(devices[3], "1.0.0", 1);
    other_module.version.module = module("mcu");
    let reports = [
        report(devices[2], "1.0.0", 1),
        report(devices[0], "1.0.0", 1),
        report(devices[0], "1.0.0", 2),
        // The later word counts.
        report(devices[1], "1.0.0", 1),
        report(devices[1], "9.0.0", 2),
        other_module,
    ];
    let joined = store.take_reports(&reports, &[], at(1)).await.unwrap().joined;
    let mut expected = vec![(job.no, devices[0]), (job.no, devices[2])];
    expected.sort_unstable();
    assert_eq!(joined, expected);
    world.check(&job).await;
}

/// Who is registered later and needs no version joins at once; in mode 2 only who informs one.
pub async fn who_is_registered_later_joins(store: &dyn Store) {
    let world = World::new(store).await;
    let before = world.devices(0..2).await;
    let now = world.make(&dynamic(&world.firmware, "now", DynamicMode::NowAndLater, &[])).await;
    assert!(!now.expansion.complete);
    let after = world.devices(2..5).await;
    let tasks = world.tasks(&now).await;
    assert!(tasks.iter().all(|task| task.state == TaskState::Queued && task.src_version.is_none()));
    let mut joined: Vec<DeviceId> = tasks.iter().map(|task| task.key.device).collect();
    joined.sort_unstable();
    let mut expected = after;
    expected.sort_unstable();
    assert_eq!(joined, expected);

    world.expand_all(&now, &before).await;
    assert_eq!(world.count(&now, TaskStatus::Queued).await, 5);
    world.check(&now).await;

    let firmware = second_firmware(&world, "fwLater").await;
    let later = world.make(&dynamic(&firmware, "later", DynamicMode::LaterOnly, &[])).await;
    let device = world.devices(5..6).await[0];
    assert_eq!(world.tasks(&later).await, []);
    assert_eq!(world.task(&now, device).await.state, TaskState::Queued);
}

/// Of several dynamic jobs that match a device, the latest has it.
pub async fn the_latest_dynamic_job_wins(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..4).await;
    let earlier = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::LaterOnly, &["1.0.0"])).await;
    for device in &devices[..2] {
        assert_eq!(inform(store, *device, "1.0.0", 1).await, [earlier.no]);
    }
    world.put_status(&earlier, devices[1], TaskStatus::InProgress, at(1)).await;

    let firmware = second_firmware(&world, "fwSecond").await;
    let later = world.make(&dynamic(&firmware, "dyn2", DynamicMode::LaterOnly, &["1.0.0"])).await;
    // It takes the place of what has not begun.
    assert_eq!(inform(store, devices[0], "1.0.0", 2).await, [later.no]);
    let replaced = world.task(&earlier, devices[0]).await.state;
    assert_eq!(replaced, TaskState::Canceled { attempts: 0, cause: CancelCause::Overwritten });
    assert_eq!(inform(store, devices[1], "1.0.0", 2).await, [], "its update is under way");
    assert_eq!(world.task(&earlier, devices[1]).await.state.status(), TaskStatus::InProgress);
    assert_eq!(inform(store, devices[2], "1.0.0", 1).await, [later.no]);

    // An earlier one's expansion does not take a device back.
    cancel_strategy(&world, &later).await;
    assert_eq!(inform(store, devices[3], "1.0.0", 1).await, [earlier.no]);
    assert_eq!(inform(store, devices[2], "1.0.0", 2).await, [], "the later job's task stays");
    for job in [&earlier, &later] {
        world.check(job).await;
    }
}

/// The expansion of a dynamic job takes the place of an earlier one's tasks, whatever the OverwriteMode, unless an
/// update is under way; that of the earlier one takes nothing back.
pub async fn the_expansion_of_the_latest_dynamic_job_wins(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let mut earlier = dynamic(&world.firmware, "dyn1", DynamicMode::NowAndLater, &[]);
    earlier.new.policy.overwrite = OverwriteMode::Replace;
    let earlier = world.make(&earlier).await;
    let outcome = store.expand(&slice(&earlier, 0, &devices[..2]), at(1)).await.unwrap();
    assert_replaced(&world, &outcome, &[]).await;
    world.put_status(&earlier, devices[1], TaskStatus::InProgress, at(1)).await;

    let firmware = second_firmware(&world, "fwSecond").await;
    let later = world.make(&dynamic(&firmware, "dyn2", DynamicMode::NowAndLater, &[])).await;
    let outcome = world.expand_all(&later, &devices).await;
    assert_replaced(&world, &outcome, &[(&earlier, devices[0], TaskStatus::Queued)]).await;
    assert_eq!((outcome.expansion.tasks, outcome.expansion.busy), (3, 1));
    let overwritten = TaskState::Canceled { attempts: 0, cause: CancelCause::Overwritten };
    assert_eq!(world.task(&earlier, devices[0]).await.state, overwritten);

    let last = Slice { complete: true, ..slice(&earlier, 1, &devices[2..]) };
    let outcome = store.expand(&last, at(2)).await.unwrap();
    assert_replaced(&world, &outcome, &[]).await;
    assert_eq!((outcome.queued, outcome.expansion.skipped), (vec![], 1));
    assert_eq!(world.task(&later, devices[2]).await.state, TaskState::Queued);
    for job in [&earlier, &later] {
        world.check(job).await;
    }
}

/// Each firmware has at most one dynamic job that takes devices.
pub async fn a_firmware_has_one_running_dynamic_job(store: &dyn Store) {
    let world = World::new(store).await;
    let first = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::LaterOnly, &[])).await;
    let second = dynamic(&world.firmware, "dyn2", DynamicMode::NowAndLater, &["1.0.0"]);
    assert_refused!(store.create_job(&second, at(0)).await, Exists);
    world.make(&new_job(&world.firmware, "static")).await;

    cancel_strategy(&world, &first).await;
    let second = world.make(&second).await;
    let SourceKind::Standing { mode, group: None } = world.reread(&second).await.source else { panic!() };
    assert_eq!(mode, DynamicMode::NowAndLater);
}

/// A cancelled strategy takes nobody, and ends its expansion; the tasks it made go on.
pub async fn tasks_outlive_their_strategy(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let owner = world.own_everything(at(0)).await;
    let job = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::NowAndLater, &[])).await;
    world.expand_all(&Job { ..job.clone() }, &[]).await;
    inform(store, devices[0], "1.0.0", 1).await;
    let open = world.task(&job, devices[0]).await;
    cancel_strategy(&world, &job).await;

    assert_eq!(inform(store, devices[1], "1.0.0", 1).await, []);
    world.devices(3..4).await;
    assert_eq!(world.tasks(&job).await.len(), 1);
    let ended = world.reread(&job).await;
    assert_eq!((ended.status, ended.ended_at), (JobStatus::Canceled, Some(at(2))));
    assert_eq!(store.claim(&owner, &[claim(&open, at(3))], at(3)).await.unwrap(), [true]);
    world.check(&job).await;

    // One whose expansion was under way has none any more.
    let firmware = second_firmware(&world, "fwSecond").await;
    let other = world.make(&dynamic(&firmware, "dyn2", DynamicMode::NowAndLater, &[])).await;
    cancel_strategy(&world, &other).await;
    assert!(world.reread(&other).await.expansion.complete);
    assert_refused!(store.expand(&slice(&other, 0, &devices), at(3)).await, Conflict);
    let unfinished = store.unfinished_jobs().await.unwrap();
    assert!(unfinished.iter().all(|left| left.no != other.no));
}

/// A device that came by itself and then in the expansion is one line; what needs no task may come later.
pub async fn who_came_by_itself_is_one_line(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let job = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::NowAndLater, &["1.0.0"])).await;
    assert_eq!(inform(store, devices[0], "1.0.0", 1).await, [job.no]);
    let mut pass = slice(&job, 0, &devices[..2]);
    pass.skipped = vec![devices[2]];
    (pass.lines, pass.complete) = (3, true);
    store.expand(&pass, at(1)).await.unwrap();

    let expansion = world.reread(&job).await.expansion;
    assert_eq!((expansion.lines, expansion.tasks, expansion.skipped), (3, 2, 1));
    assert_eq!(expansion.rejected.total(), 0);
    assert_eq!(inform(store, devices[2], "1.0.0", 1).await, [job.no]);
    world.check(&job).await;
}

/// Whoever has an unfinished task of another job does not join, and may later.
pub async fn a_busy_device_joins_later(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..2).await;
    let stands = world.job("static", &devices).await;
    let job = world.make(&dynamic(&world.firmware, "dyn1", DynamicMode::LaterOnly, &["1.0.0"])).await;
    assert_eq!(inform(store, devices[0], "1.0.0", 1).await, []);
    assert_eq!(world.tasks(&job).await, []);

    // The report that ends the other task asks again; so does the same one once more.
    let failed = TaskState::Failed { attempts: 1, cause: FailureCause::Timeout };
    let ends = to(&world.task(&stands, devices[0]).await, failed);
    let taken = store.take_reports(&[report(devices[0], "1.0.0", 1)], &[ends], at(2)).await.unwrap();
    assert_eq!((taken.written, taken.joined), (vec![true], vec![(job.no, devices[0])]));

    let mut replacing =
        dynamic(&second_firmware(&world, "fwSecond").await, "dyn2", DynamicMode::LaterOnly, &[]);
    replacing.new.policy.overwrite = OverwriteMode::Replace;
    let replacing = world.make(&replacing).await;
    assert_eq!(inform(store, devices[1], "1.0.0", 1).await, [replacing.no]);
    assert_eq!(world.task(&stands, devices[1]).await.state.status(), TaskStatus::Canceled);
    for job in [&stands, &job, &replacing] {
        world.check(job).await;
    }
}

/// A dynamic group is a rule: it takes whom the rule takes, also who comes later, and is no list.
pub async fn a_dynamic_group_is_a_rule(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..3).await;
    let group = rule(&world, "g1", r#"name in ("dev-00001", "dev-00004")"#).await;
    assert_eq!(store.group(world.account, &group.new.id).await.unwrap().unwrap(), group);
    let filter = |dynamic| GroupFilter { dynamic: Some(dynamic), ..GroupFilter::default() };
    assert_eq!(
        store.groups(world.account, &filter(true), None, 0, 10).await.unwrap(),
        (vec![group.clone()], 1)
    );
    assert_eq!(store.groups(world.account, &filter(false), None, 0, 10).await.unwrap(), (vec![], 0));
    assert_refused!(store.add_to_group(group.no, &devices).await, NotFound);
    let mut of_list = new_job(&world.firmware, "static");
    of_list.source = SourceKind::Group { group: group.no, upto: 0 };
    assert_refused!(store.create_job(&of_list, at(0)).await, NotFound);

    let job = dynamic(&world.firmware, "dyn1", DynamicMode::NowAndLater, &[]);
    let job = world.make(&for_group(job, &group)).await;
    let kept = world.reread(&job).await;
    assert_eq!(kept.source, job.source);
    assert_eq!(inform(store, devices[0], "1.0.0", 1).await, []);
    assert_eq!(inform(store, devices[1], "1.0.0", 1).await, [job.no]);
    // The rule is the job's own: it outlives the group.
    store.delete_group(group.no).await.unwrap();
    let later = world.devices(3..5).await;
    let tasks = world.tasks(&job).await;
    assert_eq!(tasks.iter().map(|task| task.key.device).collect::<Vec<_>>(), [devices[1], later[1]]);
    world.check(&job).await;
}

/// The running dynamic jobs of a group treat busy devices and modules alike.
pub async fn dynamic_jobs_of_a_group_agree(store: &dyn Store) {
    let world = World::new(store).await;
    let group = rule(&world, "g1", r#"name like "dev%""#).await;
    let make = |firmware: &Firmware, id: &str| {
        for_group(dynamic(firmware, id, DynamicMode::NowAndLater, &[]), &group)
    };
    let first = world.make(&make(&world.firmware, "dyn1")).await;
    let firmware = second_firmware(&world, "fwSecond").await;
    let mut replaces = make(&firmware, "dyn2");
    replaces.new.policy.overwrite = OverwriteMode::Replace;
    assert_refused!(store.create_job(&replaces, at(0)).await, Conflict);
    let mut modules = make(&firmware, "dyn3");
    modules.new.policy.multi_module = true;
    assert_refused!(store.create_job(&modules, at(0)).await, Conflict);
    world.make(&make(&firmware, "dyn4")).await;

    cancel_strategy(&world, &first).await;
    let unknown = GroupId::parse("g9").unwrap();
    assert_eq!(store.group(world.account, &unknown).await.unwrap(), None);
    let mut nowhere = make(&world.firmware, "dyn5");
    let SourceKind::Standing { group: Some(of), .. } = &mut nowhere.source else { panic!() };
    of.no.0 += 100;
    assert_refused!(store.create_job(&nowhere, at(0)).await, NotFound);
}
