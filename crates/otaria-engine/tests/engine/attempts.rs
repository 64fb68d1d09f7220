//! One task's life: offline devices, retries, timeouts, repeats, lost deliveries.

use std::time::Duration;

use otaria_core::job::CancelFlags;
use otaria_core::task::{FailedStep, FailureCause, Said, TaskState, TaskStatus};

use otaria_ports::store::Task;

use crate::fleet::{Temper, progress, refused, version};
use crate::world::{DEST, MINUTE, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_offline_device_waits_and_is_pushed_when_it_connects() {
    let mut world = World::new(40);
    let devices = world.devices(3, Temper::Obedient);
    let job = world.create(&world.all());
    world.run_for(3 * MINUTE);
    assert!(world.wrote.is_empty());
    world.connect(&devices[..1]);
    world.run_until("a push", 3 * SECOND, |world| world.wrote.len() == 1);
    world.run_until("success", 5 * SECOND, |world| world.count(job, TaskStatus::Succeeded) == 1);
    world.check();
}

#[test]
fn a_device_that_comes_to_the_version_by_itself_needs_no_push() {
    let mut world = World::new(41);
    let devices = world.devices(1, Temper::Obedient);
    let job = world.create(&world.all());
    world.fleet.get_mut(&devices[0]).unwrap().version = DEST.to_owned();
    world.connect(&devices);
    world.run_until_completed(job, 10 * SECOND);
    assert!(world.count(job, TaskStatus::Succeeded) == 1);
    world.check();
}

#[test]
fn a_failure_is_tried_again_after_the_interval_and_as_often_as_granted() {
    let mut world = World::new(42);
    let devices = world.devices(1, Temper::Failing);
    world.connect(&devices);
    let mut params = world.all();
    (params.job.retry_interval, params.job.retry_count) = (Some(10), Some(2));
    let job = world.create(&params);
    world.run_until_completed(job, 25 * MINUTE);
    let wrote = world.wrote(job);
    assert_eq!(wrote.iter().map(|wrote| wrote.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    for pair in wrote.windows(2) {
        let gap = pair[1].at.since(pair[0].at);
        assert!(gap >= 10 * MINUTE && gap < 10 * MINUTE + 5 * SECOND, "{gap:?}");
    }
    let failed = TaskState::Failed { attempts: 3, cause: FailureCause::Refused(FailedStep::Update) };
    assert_eq!(world.state(job, devices[0]), failed);
    world.check();
}

#[test]
fn an_immediate_retry_comes_within_seconds() {
    let mut world = World::new(43);
    let devices = world.devices(20, Temper::Failing);
    world.connect(&devices);
    let mut params = world.all();
    (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(1));
    let job = world.create(&params);
    world.run_until_completed(job, 10 * SECOND);
    assert!(devices.iter().all(|device| world.fleet[device].offers.len() == 2));
    assert_eq!(world.counts(job).notices, 40);
    world.check();
}

#[test]
fn a_device_that_says_everything_twice_is_heard_once() {
    let mut world = World::new(44);
    let devices = world.devices(10, Temper::Stuttering);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_until_completed(job, 10 * SECOND);
    assert_eq!(world.count(job, TaskStatus::Succeeded), 10);
    world.check();
}

#[test]
fn a_foreign_version_while_updating_is_a_failure() {
    let mut world = World::new(45);
    let devices = world.devices(1, Temper::Downgrading);
    world.connect(&devices);
    world.run_for(SECOND);
    let job = world.create(&world.all());
    world.run_until_completed(job, 10 * SECOND);
    let failed = TaskState::Failed { attempts: 1, cause: FailureCause::ForeignVersion };
    assert_eq!(world.state(job, devices[0]), failed);
    world.check();
}

/// A device carries out what it was told first, though another job has it by then; so its reports are not about that.
#[test]
fn a_version_that_an_earlier_job_offered_fails_no_later_one_whose_notice_comes_again() {
    for is_cancelled in [false, true] {
        let mut world = World::new(54);
        let devices = world.devices(1, Temper::Silent);
        world.connect(&devices);
        world.run_for(SECOND);
        let earlier = world.create(&world.all());
        world.run_until("the earlier notice", 3 * SECOND, |world| world.wrote(earlier).len() == 1);
        let mut params = world.all();
        params.job.firmware_id = Some(world.make_firmware_to("next", "3.0.0", false));
        if is_cancelled {
            world.cancel(earlier, CancelFlags::EVERYTHING);
            world.run_until("the end", 3 * SECOND, |world| world.count(earlier, TaskStatus::Canceled) == 1);
        } else {
            params.job.overwrite_mode = Some(2);
        }
        let later = world.create(&params);
        world.run_until("the later notice", 3 * SECOND, |world| world.wrote(later).len() == 1);

        let says = |world: &mut World, said| {
            let now = world.now;
            world.fleet.get_mut(&devices[0]).unwrap().say(said, now);
            world.run_for(SECOND);
        };
        says(&mut world, progress(50));
        says(&mut world, version(DEST));
        assert_eq!(world.count(later, TaskStatus::InProgress), 1);
        world.run_until("the later notice again", 62 * SECOND, |world| world.wrote(later).len() == 2);
        let (first, again) = (&world.wrote(later)[0], &world.wrote(later)[1]);
        assert_eq!((first.attempt, first.wire_id), (again.attempt, again.wire_id));
        assert!(again.at.since(first.at) >= MINUTE);
        if is_cancelled {
            // What nobody offered is as foreign as ever.
            says(&mut world, progress(60));
            says(&mut world, version("9.9.9"));
            let failed = TaskState::Failed { attempts: 1, cause: FailureCause::ForeignVersion };
            assert_eq!(world.state(later, devices[0]), failed);
        } else {
            says(&mut world, version("3.0.0"));
            assert_eq!(world.count(later, TaskStatus::Succeeded), 1);
        }
        world.check();
    }
}

/// The later notice finds a full socket at first; what the device says until it has it is about the earlier job.
#[test]
fn what_a_device_says_before_the_later_notice_is_written_is_not_about_the_later_job() {
    let mut world = World::new(55);
    let devices = world.devices(1, Temper::Silent);
    world.connect(&devices);
    world.run_for(SECOND);
    let earlier = world.create(&world.all());
    world.run_until("the earlier notice", 3 * SECOND, |world| world.wrote(earlier).len() == 1);
    world.jams = 1_000;
    let mut params = world.all();
    params.job.firmware_id = Some(world.make_firmware_to("next", "3.0.0", false));
    (params.job.overwrite_mode, params.job.timeout_in_minutes) = (Some(2), Some(1));
    let later = world.create(&params);
    world.run_until("the claim", 3 * SECOND, |world| world.count(later, TaskStatus::Notified) == 1);
    for said in [progress(50), refused(), progress(60), version(DEST)] {
        let now = world.now;
        world.fleet.get_mut(&devices[0]).unwrap().say(said, now);
        world.run_for(Duration::from_millis(200));
        assert_eq!(world.count(later, TaskStatus::Notified), 1);
    }
    world.jams = 0;
    // Said before the notice and taken after the word about it: the store was slow.
    let now = world.now;
    world.fleet.get_mut(&devices[0]).unwrap().say(refused(), now);
    let slow = world.hear(devices[0]);
    world.run_until("the later notice", 8 * SECOND, |world| world.wrote(later).len() == 1);
    world.run_for(SECOND);
    world.take_late(slow);
    assert_eq!(world.count(later, TaskStatus::Notified), 1);
    let now = world.now;
    world.fleet.get_mut(&devices[0]).unwrap().say(refused(), now);
    world.run_until_completed(later, 2 * SECOND);
    let failed = TaskState::Failed { attempts: 1, cause: FailureCause::Refused(FailedStep::Update) };
    assert_eq!(world.state(later, devices[0]), failed);
    world.check();
}

/// An expansion looks up the next slice of a list while it writes one: what devices have may be another version by
/// the time of their tasks.
#[test]
fn a_version_that_arrived_while_a_task_was_made_is_no_foreign_one() {
    let mut world = World::new(56);
    let all = world.devices(20_000, Temper::Silent);
    let devices: Vec<_> = all.iter().copied().step_by(200).collect();
    world.connect(&devices);
    world.run_for(SECOND);
    let earlier = world.create(&world.specific(&devices));
    world.run_until("the earlier notices", 3 * SECOND, |world| world.wrote(earlier).len() == devices.len());
    let names: Vec<String> = all.iter().map(|device| world.name(*device)).collect();
    let mut params = world.listed(names.join("\n").as_bytes());
    params.job.firmware_id = Some(world.make_firmware_to("next", "3.0.0", false));
    let later = world.create(&params);
    world.run_until("more than the call made", SECOND, |world| world.counts(later).total() > 1_000);
    let say = |world: &mut World, said: Said| {
        let now = world.now;
        for device in &devices {
            world.fleet.get_mut(device).unwrap().say(said.clone(), now);
        }
        world.listen_now();
    };
    say(&mut world, version(DEST));
    assert_eq!(world.count(earlier, TaskStatus::Succeeded), devices.len() as u64);
    world.run_until("all tasks", 20 * SECOND, |world| world.counts(later).total() == 20_000);
    world.run_for(3 * SECOND);
    let told = world.count(later, TaskStatus::Notified);
    assert!(told > 10, "{told} were free by then");
    let had = |task: &Task| task.src_version.as_ref().map(|had| had.as_str().to_owned());
    let of_before = |task: &&Task| task.state.attempts() > 0 && had(task).as_deref() == Some("1.0.0");
    assert!(world.tasks(later).iter().filter(of_before).count() > 10, "looked up before");
    say(&mut world, progress(10));
    assert_eq!(world.count(later, TaskStatus::InProgress), told);
    // They come back while they are at it, and say what they have.
    world.disconnect(&devices);
    world.connect(&devices);
    world.run_for(SECOND);
    assert_eq!(world.count(later, TaskStatus::InProgress), told);
    world.run_for(3 * MINUTE);
    assert_eq!(world.wrote(later).len() as u64, 2 * told, "the repeats that a new session gets, and no more");
    say(&mut world, version("3.0.0"));
    assert_eq!(world.count(later, TaskStatus::Succeeded), told);
    world.check();
}

#[test]
fn the_timeout_runs_from_the_first_progress_and_no_reconnect_moves_it() {
    let mut world = World::new(46);
    let devices = world.devices(1, Temper::Stuck);
    world.connect(&devices);
    let mut params = world.all();
    params.job.timeout_in_minutes = Some(5);
    (params.job.retry_interval, params.job.retry_count) = (Some(0), Some(5));
    let job = world.create(&params);
    world.run_until("progress", 10 * SECOND, |world| world.count(job, TaskStatus::InProgress) == 1);
    let began = world.now;
    for _ in 0..4 {
        world.run_for(50 * SECOND);
        world.disconnect(&devices);
        world.run_for(5 * SECOND);
        world.connect(&devices);
        let now = world.now;
        world.fleet.get_mut(&devices[0]).unwrap().say(progress(40), now);
    }
    world.run_until_completed(job, 3 * MINUTE);
    let took = world.now.since(began);
    assert!(took > 299 * SECOND && took < 303 * SECOND, "{took:?}");
    let failed = TaskState::Failed { attempts: 1, cause: FailureCause::Timeout };
    assert_eq!(world.state(job, devices[0]), failed);
    world.check();
}

#[test]
fn a_silent_device_fails_by_the_offer_timeout_if_there_is_one() {
    let mut world = World::new(47);
    let devices = world.devices(2, Temper::Silent);
    world.connect(&devices[..1]);
    let mut params = world.all();
    params.job.offer_timeout_in_minutes = Some(1);
    let job = world.create(&params);
    world.run_for(70 * SECOND);
    let failed = TaskState::Failed { attempts: 1, cause: FailureCause::OfferTimeout };
    assert_eq!(world.state(job, devices[0]), failed);
    assert_eq!(world.state(job, devices[1]), TaskState::Queued, "it never had the notice");
    assert_eq!(world.wrote.len(), 1);
    world.check();
}

#[test]
fn a_device_that_stays_connected_hears_an_offer_once() {
    let mut world = World::new(48);
    let devices = world.devices(5, Temper::Silent);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_for(10 * MINUTE);
    assert_eq!(world.wrote(job).len(), 5);
    world.check();
}

#[test]
fn a_device_that_comes_back_hears_it_again_once_a_session_and_a_minute_apart() {
    let mut world = World::new(49);
    let devices = world.devices(1, Temper::Silent);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_for(10 * SECOND);
    // Comes back at once, and a moment later again: the last session hears it when the minute is over.
    world.connect(&devices);
    world.run_for(5 * SECOND);
    world.connect(&devices);
    world.run_for(3 * MINUTE);
    // Comes back after minutes: this session hears it at once, and so does the next, a minute later.
    world.connect(&devices);
    world.run_for(5 * SECOND);
    world.connect(&devices);
    world.run_for(3 * MINUTE);
    let wrote = world.wrote(job);
    let sessions: Vec<i64> = wrote.iter().map(|other| other.session - wrote[0].session).collect();
    assert_eq!(sessions, [0, 2, 3, 4], "{wrote:?}");
    assert!(wrote.iter().all(|w| w.wire_id == wrote[0].wire_id && w.attempt == 1));
    assert_eq!(world.counts(job).notices, 4);
    world.check();
}

#[test]
fn what_was_not_written_goes_out_again_under_the_same_id() {
    let mut world = World::new(50);
    let devices = world.devices(3, Temper::Obedient);
    world.connect(&devices);
    world.run_for(SECOND);
    let job = world.create(&world.all());
    // Congested, and the word of it is no use.
    world.jams = 1_000;
    world.run_for(2 * SECOND);
    world.jams = 0;
    let ids: Vec<i64> =
        world.tasks(job).iter().map(|task| task.state.attempt().unwrap().offered_at.millis()).collect();
    world.run_until("success", 10 * SECOND, |world| world.count(job, TaskStatus::Succeeded) == 3);
    for (task, id) in world.tasks(job).iter().zip(ids) {
        let wrote = world.wrote_to(job, task.key.device);
        assert_eq!(wrote.iter().map(|wrote| wrote.wire_id).collect::<Vec<_>>(), [id]);
    }
    world.check();
}

#[test]
fn a_gateway_that_takes_no_notices_costs_seconds() {
    let mut world = World::new(51);
    let devices = world.devices(30, Temper::Obedient);
    world.connect(&devices);
    world.gateway.refuse_sends(2);
    let job = world.create(&world.all());
    world.run_until_completed(job, 20 * SECOND);
    world.check();
}

#[test]
fn a_lost_word_about_a_notice_costs_one_more_delivery_and_no_attempt() {
    let mut world = World::new(52);
    let devices = world.devices(2, Temper::Silent);
    world.connect(&devices);
    world.lost_outcomes = 1_000;
    let job = world.create(&world.all());
    world.run_for(3 * SECOND);
    world.lost_outcomes = 0;
    world.run_for(10 * SECOND);
    for device in devices {
        let wrote = world.wrote_to(job, device);
        assert_eq!(wrote.len(), 2);
        assert_eq!(world.state(job, device).attempts(), 1);
    }
    world.lost_outcomes = 1;
    world.check();
}

#[test]
fn a_device_that_vanishes_before_its_notice_gets_it_when_it_is_back() {
    let mut world = World::new(53);
    let devices = world.devices(1, Temper::Obedient);
    world.connect(&devices);
    world.run_for(SECOND);
    // The gateway has lost it, and presence does not know yet.
    world.gateway.leave(devices[0]);
    let job = world.create(&world.all());
    world.run_for(8 * SECOND);
    assert!(world.wrote.is_empty());
    world.disconnect(&devices);
    world.run_for(MINUTE);
    world.connect(&devices);
    world.run_until_completed(job, 10 * SECOND);
    assert_eq!(world.state(job, devices[0]), TaskState::Succeeded { attempts: 1 });
    world.check();
}

#[test]
fn a_report_on_an_ended_task_changes_nothing() {
    let mut world = World::new(54);
    let devices = world.devices(1, Temper::Obedient);
    world.connect(&devices);
    let job = world.create(&world.all());
    world.run_until_completed(job, 10 * SECOND);
    let now = world.now;
    let device = world.fleet.get_mut(&devices[0]).unwrap();
    device.say(refused(), now);
    device.say(progress(5), now);
    world.run_for(5 * SECOND);
    assert_eq!(world.count(job, TaskStatus::Succeeded), 1);
    world.check();
}
