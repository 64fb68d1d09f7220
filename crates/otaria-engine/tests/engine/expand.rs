//! Lists become tasks: every line in exactly one count, whatever happens on the way (I4).

use std::time::Duration;

use otaria_core::ids::JobNo;
use otaria_core::task::TaskStatus;
use otaria_ports::store::Rejections;
use otaria_ports::store::memory::Fault;

use crate::fleet::Temper;
use crate::world::{DEST, MINUTE, World};

/// A file with a bit of everything, cut by lines of all kinds.
struct Mixed {
    file: Vec<u8>,
    lines: u64,
    tasks: u64,
    skipped: u64,
    rejected: Rejections,
}

/// Lists `known` devices, of which some are at the destination, among other lines.
fn mixed(world: &mut World, known: usize) -> Mixed {
    let devices = world.devices(known, Temper::Obedient);
    let at_destination: Vec<_> = devices.iter().copied().step_by(10).collect();
    for device in &at_destination {
        world.fleet.get_mut(device).unwrap().version = DEST.to_owned();
    }
    world.connect(&at_destination);
    world.run_for(Duration::from_secs(1));
    world.disconnect(&at_destination);

    let mut names: Vec<String> = devices.iter().map(|device| world.name(*device)).collect();
    let twice: Vec<String> = names.iter().step_by(50).cloned().collect();
    let unknown: Vec<String> = (0..known / 100).map(|n| format!("nobody-{n}")).collect();
    let malformed: Vec<String> = (0..known / 200).map(|n| format!("no name {n}")).collect();
    names.extend(twice.iter().chain(&unknown).chain(&malformed).cloned());
    world.chance.shuffle(&mut names);

    let mut file = b"\xef\xbb\xbf".to_vec();
    for (n, name) in names.iter().enumerate() {
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice([&b"\r\n"[..], b"\n", b"\n\r\n  \n"][n % 3]);
    }
    let (skipped, duplicate) = (at_destination.len() as u64, twice.len() as u64);
    Mixed {
        file,
        lines: names.len() as u64,
        tasks: known as u64 - skipped,
        skipped,
        rejected: Rejections { malformed: malformed.len() as u64, unknown: unknown.len() as u64, duplicate },
    }
}

impl Mixed {
    fn check(&self, world: &World, job: JobNo) {
        let expansion = world.expansion(job);
        assert!(expansion.complete);
        assert_eq!((expansion.lines, expansion.tasks), (self.lines, self.tasks), "seed {}", world.seed);
        assert_eq!((expansion.skipped, expansion.rejected), (self.skipped, self.rejected));
        world.check();
    }
}

#[test]
fn every_line_of_a_list_ends_in_one_count() {
    for known in [1, 400, 12_000] {
        let mut world = World::new(20);
        let mixed = mixed(&mut world, known);
        let job = world.create(&world.listed(&mixed.file));
        world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);
        mixed.check(&world, job);
    }
}

#[test]
fn a_crash_between_any_two_slices_changes_no_count() {
    for crash_after in 0..5 {
        let mut world = World::new(21);
        let mixed = mixed(&mut world, 12_000);
        let job = world.create(&world.listed(&mixed.file));
        let mut lines = world.expansion(job).lines;
        for _ in 0..crash_after {
            world.run_until("another slice", MINUTE, |world| {
                world.expansion(job).lines > lines || world.expansion(job).complete
            });
            lines = world.expansion(job).lines;
        }
        world.crash();
        world.run_until("expansion", MINUTE, |world| world.expansion(job).complete);
        mixed.check(&world, job);
    }
}

#[test]
fn a_store_that_fails_now_and_then_changes_no_count() {
    for seed in 0..5 {
        let mut world = World::new(22_000 + seed);
        let mixed = mixed(&mut world, 12_000);
        world.faults = 400;
        let job = world.create(&world.listed(&mixed.file));
        world.run_until("expansion", 5 * MINUTE, |world| world.expansion(job).complete);
        mixed.check(&world, job);
    }
}

#[test]
fn pushing_begins_with_the_first_slice() {
    let mut world = World::new(23);
    let devices = world.devices(20_000, Temper::Obedient);
    let file: String = devices.iter().map(|device| world.name(*device) + "\n").collect();
    world.connect(&devices[..10]);
    let job = world.create(&world.listed(file.as_bytes()));
    world.run_until("a push", Duration::from_secs(2), |world| !world.wrote.is_empty());
    assert!(!world.expansion(job).complete);
}

#[test]
fn a_slice_whose_answer_is_lost_is_pushed_and_closed_all_the_same() {
    // Each call of the expansion in turn is done without an answer.
    for call in 0..12 {
        let mut world = World::new(24);
        world.process.pokes = false;
        let devices = world.devices(1_200, Temper::Obedient);
        world.connect(&devices);
        world.run_for(Duration::from_secs(1));
        let params = world.all();
        let job = world.create(&params);
        world.store.fail_after(call, Fault::After);
        world.process.tick(crate::process::Loop::Expander, world.now);
        world.process.tick(crate::process::Loop::Expander, world.now);
        world.store.mend();
        world.run_until("all succeeded", Duration::from_secs(30), |world| {
            world.count(job, TaskStatus::Succeeded) == 1_200
        });
        world.run_until_completed(job, Duration::from_secs(5));
        world.check();
    }
}
