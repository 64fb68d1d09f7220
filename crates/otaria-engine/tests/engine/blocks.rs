//! Packages over MQTT: who may read which block.

use std::time::Duration;

use otaria_core::ids::{DeviceId, JobNo};
use otaria_core::job::CancelFlags;
use otaria_core::link::stream_id;
use otaria_core::rules::StaticUpgradeParams;
use otaria_core::task::TaskStatus;
use otaria_engine::{CommandError, streams};
use otaria_ports::inbox::{BLOCK_MAX, Block, BlockAsked, NoBlock};
use otaria_ports::store::memory::Fault;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{World, text};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
/// What the world's firmware holds.
const FILE: &[u8] = b"package";

fn by_mqtt(params: StaticUpgradeParams) -> StaticUpgradeParams {
    let mut params = params;
    params.job.download_protocol = text("MQTT");
    params
}

/// A silent device that was told of a package to be read over MQTT; with the job and its stream.
fn told(seed: u64) -> (World, DeviceId, JobNo, u32) {
    let mut world = World::new(seed);
    let devices = world.devices(2, Temper::Silent);
    world.connect(&devices);
    let job = world.create(&by_mqtt(world.specific(&devices[..1])));
    world.run_until("the notice", 5 * SECOND, |world| world.count(job, TaskStatus::Notified) == 1);
    let stream = stream(&world, devices[0]);
    (world, devices[0], job, stream)
}

/// The stream that the device is offered when it asks.
fn stream(world: &World, device: DeviceId) -> u32 {
    let module = otaria_core::ids::ModuleName::default_module();
    let fetched = run(otaria_engine::inbox::fetch(&world.process.shell, device, &module, world.now)).unwrap();
    let offer = fetched.unwrap().offer;
    assert!(offer.files[0].url.is_empty(), "a stream takes the place of the URL");
    offer.stream_id.unwrap()
}

fn ask(world: &World, device: DeviceId, asked: BlockAsked) -> Result<Block, NoBlock> {
    run(streams::block(&world.process.shell, device, asked, world.now)).unwrap()
}

fn part(stream_id: u32, offset: u64, size: u32) -> BlockAsked {
    BlockAsked { stream_id, file_id: 1, offset, size }
}

#[test]
fn a_device_reads_what_it_is_offered_in_blocks() {
    let (world, device, _, stream) = told(90);
    let read = |offset, size| ask(&world, device, part(stream, offset, size)).map(|block| block.bytes);
    assert_eq!(ask(&world, device, part(stream, 0, 5)).unwrap().file_size, 7);
    assert_eq!(read(0, 5).unwrap(), FILE[..5]);
    assert_eq!(read(5, 5).unwrap(), FILE[5..], "the last one is shorter");
    assert_eq!(read(0, BLOCK_MAX).unwrap(), FILE);
    for (offset, size) in [(7, 1), (u64::MAX, 1), (0, 0), (0, BLOCK_MAX + 1)] {
        assert_eq!(read(offset, size), Err(NoBlock::OutOfRange), "{offset} {size}");
    }
}

#[test]
fn nobody_reads_what_is_not_offered_to_him() {
    let (mut world, device, _, stream) = told(91);
    let other = world.fleet.keys().copied().find(|other| *other != device).unwrap();
    let first = part(stream, 0, 5);
    assert!(ask(&world, device, first).is_ok());
    assert_eq!(ask(&world, other, first), Err(NoBlock::NotOffered), "another device");
    assert_eq!(ask(&world, device, part(stream ^ 1, 0, 5)), Err(NoBlock::NotOffered), "another stream");
    let second_file = BlockAsked { file_id: 2, ..first };
    assert_eq!(ask(&world, device, second_file), Err(NoBlock::NotOffered), "another file");

    // The same package offered by its URL opens no stream, and neither does an offer yet to be made.
    let by_url = world.create(&world.specific(&[other]));
    world.run_until("the notice", 5 * SECOND, |world| world.count(by_url, TaskStatus::Notified) == 1);
    assert_eq!(ask(&world, other, first), Err(NoBlock::NotOffered));
    let late = world.devices(1, Temper::Silent)[0];
    let planned = world.create(&by_mqtt(world.specific(&[late])));
    world.run_for(SECOND);
    let coming = stream_id(&world.process.shell.deps.link_key, planned);
    assert_eq!(ask(&world, late, part(coming, 0, 5)), Err(NoBlock::NotOffered));
}

#[test]
fn a_cancelled_task_is_not_read_any_more() {
    let (mut world, device, job, stream) = told(92);
    assert!(ask(&world, device, part(stream, 0, 5)).is_ok());
    world.cancel(job, CancelFlags::EVERYTHING);
    assert_eq!(ask(&world, device, part(stream, 0, 5)), Err(NoBlock::NotOffered), "from the answer on");
    world.run_for(SECOND);
    assert_eq!(ask(&world, device, part(stream, 0, 5)), Err(NoBlock::NotOffered));
}

#[test]
fn a_paused_job_lets_running_devices_go_on() {
    let (mut world, device, job, stream) = told(93);
    world.pause(job);
    assert!(ask(&world, device, part(stream, 0, 5)).is_ok());
}

#[test]
fn many_blocks_cost_few_looks_at_the_store() {
    let (mut world, device, _, stream) = told(94);
    assert!(ask(&world, device, part(stream, 0, 1)).is_ok());
    // Whoever asks the store now fails.
    world.store.fail_next(1, Fault::Before);
    for n in 0..3_277 {
        assert!(ask(&world, device, part(stream, n % 7, 1)).is_ok());
    }
    world.now = world.now + 10 * SECOND;
    let looked = run(streams::block(&world.process.shell, device, part(stream, 0, 1), world.now));
    assert!(matches!(looked, Err(CommandError::Unavailable(_))), "it is looked up again after a while");
    assert!(ask(&world, device, part(stream, 0, 1)).is_ok());
}

#[test]
fn a_stream_outlives_a_crash_and_the_hour_of_its_offer() {
    let (mut world, device, _, stream_before) = told(95);
    world.crash_and_reconnect();
    world.run_for(2 * SECOND);
    assert!(ask(&world, device, part(stream_before, 0, 7)).is_ok());
    world.now = world.now + HOUR;
    assert_eq!(stream(&world, device), stream_before);
    assert!(ask(&world, device, part(stream_before, 0, 7)).is_ok());
}
