//! Signals that got lost between processes cost time, and a word about it saves the time.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::ids::ModuleName;
use otaria_core::task::TaskStatus;
use otaria_engine::inbox;
use otaria_engine::listener::Listener;
use otaria_ports::bus::Signal;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World};

#[test]
fn a_word_that_signals_were_missed_makes_everybody_be_looked_at() {
    let mut world = World::new(77);
    let devices = world.devices(20, Temper::Obedient);
    world.connect(&devices);
    world.run_for(Duration::from_secs(2));
    let job = world.create(&world.all());
    let lost = world.process.shell.deps.bus.drain(usize::MAX);
    assert!(!lost.is_empty());
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.wrote(job).len(), 0, "the sweep comes later");
    assert_eq!(world.count(job, TaskStatus::Queued), 20);

    world.process.shell.deps.bus.tell(Signal::Missed);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.wrote(job).len(), 20);
    world.check();
}

#[test]
fn what_was_missed_of_a_paused_job_is_not_pushed() {
    let mut world = World::new(78);
    let devices = world.devices(400, Temper::Obedient);
    world.connect(&devices);
    let mut params = world.all();
    params.job.maximum_per_minute = Some(60);
    let job = world.create(&params);
    world.run_for(Duration::from_secs(10));
    world.pause(job);
    let written = world.wrote(job).len();
    assert!((1..400).contains(&written), "{written}");
    world.process.shell.deps.bus.drain(usize::MAX);
    world.process.shell.deps.bus.tell(Signal::Missed);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.wrote(job).len(), written);
    world.resume(job);
    world.process.shell.deps.bus.drain(usize::MAX);
    world.process.shell.deps.bus.tell(Signal::Missed);
    world.run_for(Duration::from_secs(20));
    assert!(world.wrote(job).len() > written + 10, "{}", world.wrote(job).len());
    world.check();
}

#[test]
fn a_process_without_loops_finds_out_by_itself_what_it_was_not_told() {
    let mut world = World::new(79);
    let device = world.devices(1, Temper::Silent)[0];
    let mut params = world.all();
    params.job.need_push = Some(false);
    let job = world.create(&params);
    // A gateway's process: its bus is its own, so it hears of nothing that happens in the other one.
    let gateway = world.another_shell();
    let mut listener = Listener::new(Arc::clone(&gateway), world.now);
    let ask = |world: &World| {
        run(inbox::fetch(&gateway, device, &ModuleName::default_module(), world.now)).unwrap()
    };
    world.pause(job);
    assert!(ask(&world).is_none());
    world.resume(job);
    listener.tick(world.now);
    assert!(ask(&world).is_none(), "nobody told it");
    world.now = world.now + MINUTE;
    listener.tick(world.now);
    assert!(ask(&world).is_some());
    world.check();
}
