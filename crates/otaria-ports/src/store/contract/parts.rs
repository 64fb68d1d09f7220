//! Parts: how many match in the moment a job is made, and who they were.

use otaria_core::gray::{GrayPercent, Last};
use otaria_core::ids::{DeviceId, JobNo, ModuleName};
use otaria_core::job::Target;
use otaria_core::task::ReportOrder;

use super::world::{DEST, World, at, device_name, informed, module, new_job, slice, version};
use crate::store::{CreateJob, CreatedJob, Job, ModuleVersion, Slice, SourceKind, Store, VersionReport};

fn job_for(world: &World<'_>, percent: &str, sources: &[&str], id: &str) -> CreateJob {
    let mut job = new_job(&world.firmware, id);
    job.new.target = Target::Gray {
        percent: GrayPercent::parse(percent).unwrap(),
        src_versions: sources.iter().map(|text| version(text)).collect(),
    };
    job.source = SourceKind::Part { matching: 0, count: 0, last: None };
    job
}

async fn inform(store: &dyn Store, device: DeviceId, module: &ModuleName, text: &str, n: u32) {
    let version = ModuleVersion { device, module: module.clone(), version: informed(text), at: at(0) };
    let report = VersionReport { version, order: ReportOrder { session: 1, n } };
    store.take_reports(&[report], &[], at(0)).await.unwrap();
}

fn numbers(job: &Job) -> (u64, u64) {
    match job.source {
        SourceKind::Part { matching, count, last: None } => (matching, count),
        ref other => panic!("{other:?}"),
    }
}

async fn versions_then(store: &dyn Store, job: &Job) -> Vec<(String, Option<String>, bool)> {
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let page = store.scan_drawn(job.no, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { return rows };
        after = Some(last.name.clone());
        rows.extend(page.into_iter().map(|drawn| {
            let version = drawn.version_then.map(|version| version.as_str().to_owned());
            (drawn.name.to_string(), version, drawn.gone)
        }));
    }
}

/// Matching devices are counted in the moment, exactly: by destination, source and package.
pub async fn a_part_counts_who_matches(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..9).await;
    let (main, other) = (ModuleName::default_module(), module("mcu"));
    for (n, text) in [DEST, DEST, "1.0", "1.0", "1.0", "1.1"].into_iter().enumerate() {
        inform(store, devices[n], &main, "0.9", 1).await;
        inform(store, devices[n], &main, text, 3).await;
        // Neither an older report nor another module counts.
        inform(store, devices[n], &main, "0.8", 2).await;
        inform(store, devices[n], &other, "1.0", 4).await;
    }
    let part = |percent: &'static str, sources: &'static [&'static str], id: &'static str| {
        let create = job_for(&world, percent, sources, id);
        let world = &world;
        async move { numbers(&world.make(&create).await) }
    };
    assert_eq!(part("100", &[], "job1").await, (7, 7));
    assert_eq!(part("33.333", &["1.0", "1.1"], "job2").await, (4, 1));
    assert_eq!(part("99.999", &["1.1", DEST, "1.0"], "job3").await, (4, 3));

    let nobody = store.create_job(&job_for(&world, "33.333", &["1.1"], "job4"), at(0)).await.unwrap();
    assert_eq!(nobody, CreatedJob::Nobody { matching: 1 });
    assert_eq!(store.jobs(world.account, JobNo(0), 9).await.unwrap().len(), 3, "nothing was made");
    store.delete_device(devices[2], at(1)).await.unwrap();
    assert_eq!(part("100", &["1.0"], "job5").await, (2, 2));
}

/// Who was there with which version is told as it was, whatever was registered, informed or deleted since.
pub async fn a_draw_sees_what_was(store: &dyn Store) {
    let world = World::new(store).await;
    let devices = world.devices(0..5).await;
    let main = ModuleName::default_module();
    inform(store, devices[0], &main, "1.0", 1).await;
    inform(store, devices[1], &main, "1.0", 1).await;
    let job = world.make(&job_for(&world, "50", &[], "job1")).await;

    inform(store, devices[0], &main, "1.1", 2).await;
    inform(store, devices[0], &main, DEST, 3).await;
    inform(store, devices[2], &main, DEST, 1).await;
    store.delete_device(devices[1], at(1)).await.unwrap();
    store.delete_device(devices[3], at(1)).await.unwrap();
    // The same names, other devices; and one more.
    world.devices(1..2).await;
    world.devices(5..6).await;
    inform(store, devices[4], &module("mcu"), DEST, 9).await;

    let row = |n, version: Option<&str>, gone| (device_name(n).to_string(), version.map(str::to_owned), gone);
    let was = [
        row(0, Some("1.0"), false),
        row(1, Some("1.0"), true),
        row(2, None, false),
        row(3, None, true),
        row(4, None, false),
    ];
    assert_eq!(versions_then(store, &job).await, was);
    let now = store.scan_drawn(job.no, None, 1).await.unwrap().remove(0).candidate;
    assert_eq!(now.version, Some(informed(DEST)));

    // A job that is made now sees the world as it is now.
    let later = world.make(&job_for(&world, "50", &[], "job2")).await;
    let is = versions_then(store, &later).await;
    assert_eq!(is[0], row(0, Some(DEST), false));
    assert_eq!(is[1], row(1, None, false));
    assert_eq!(is.len(), 5);
    store.expand(&Slice { complete: true, ..slice(&job, 0, &devices[..1]) }, at(2)).await.unwrap();
}

/// The first outcome of a draw is kept; other jobs have none.
pub async fn a_draw_is_kept_once(store: &dyn Store) {
    let world = World::new(store).await;
    world.devices(0..2).await;
    let job = world.make(&job_for(&world, "50", &[], "job1")).await;
    let last = |rank| Last { rank, device: DeviceId(7) };
    assert_eq!(store.put_draw(job.no, last(u64::MAX)).await.unwrap(), Some(last(u64::MAX)));
    assert_eq!(store.put_draw(job.no, last(1)).await.unwrap(), Some(last(u64::MAX)));
    let kept = SourceKind::Part { matching: 2, count: 1, last: Some(last(u64::MAX)) };
    assert_eq!(world.reread(&job).await.source, kept);
    let all = world.make(&new_job(&world.firmware, "job2")).await;
    assert_eq!(store.put_draw(all.no, last(1)).await.unwrap(), None);
}
