//! A process that writes is killed without warning, again and again; what it was told is there.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use otaria_core::ids::{DEFAULT_ACCOUNT, JobId};
use otaria_ports::store::contract::world::{World, at, claim, cursor, new_job, slice};
use otaria_ports::store::{Jobs, TaskFilter, Tasks};

use crate::file::{block_on, open};

const FILE: &str = "OTARIA_STORE_TEST_FILE";
const SLICE: usize = 200;

/// What is killed: expands one slice after the other and claims its tasks, and says so each time.
#[test]
fn a_writer_to_be_killed() {
    let Some(path) = std::env::var_os(FILE) else { return };
    block_on(async {
        let store = open(path.as_ref()).await;
        let world = World::new(&store).await;
        let owner = world.own_everything(at(0)).await;
        let job = world.make(&new_job(&world.firmware, "job1")).await;
        for step in 0.. {
            let devices = world.devices(step * SLICE..(step + 1) * SLICE).await;
            store.expand(&slice(&job, step as u64, &devices), at(1)).await.unwrap();
            println!("\nslice {}", step + 1);
            let after = u32::try_from(step * SLICE).unwrap();
            let page = store.list_tasks(job.no, &TaskFilter::default(), after, SLICE).await.unwrap();
            let claims: Vec<_> = page.tasks.iter().map(|view| claim(&view.task, at(2))).collect();
            let written = store.claim(&owner, &claims, at(2)).await.unwrap();
            println!("\nclaims {}", written.iter().filter(|written| **written).count());
        }
    });
}

#[test]
fn a_killed_writer_loses_nothing_that_it_was_told() {
    let full = std::env::var_os("OTARIA_TEST_FULL").is_some();
    let mut seed: u64 = 20_261_121;
    println!("seed {seed}");
    for _ in 0..if full { 40 } else { 4 } {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        kill_after(Duration::from_millis(300 + (seed >> 33) % 700));
    }
}

fn kill_after(wait: Duration) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otaria.db");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::a_writer_to_be_killed", "--nocapture"])
        .env(FILE, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(wait);
    child.kill().unwrap();
    child.wait().unwrap();
    let said: Vec<String> =
        BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
    let numbers = |what: &str| -> Vec<u64> {
        said.iter().filter_map(|line| line.strip_prefix(what)?.trim().parse().ok()).collect()
    };
    let (told, claimed) =
        (numbers("slice").last().copied().unwrap_or(0), numbers("claims").iter().sum::<u64>());
    println!("killed after {wait:?}: told of {told} slices and {claimed} claims");

    block_on(async {
        let store = open(&path).await;
        let Some(job) = store.job(DEFAULT_ACCOUNT, &JobId::parse("job1").unwrap()).await.unwrap() else {
            assert_eq!(told, 0);
            return;
        };
        // What was written may not have been told any more, but nothing else.
        let steps = job.expansion.cursor.offset / 100;
        assert!((told..=told + 1).contains(&steps), "told of {told}, there are {steps}");
        assert_eq!(job.expansion.cursor, cursor(steps));
        assert_eq!(job.expansion.lines, steps * SLICE as u64);
        assert_eq!(job.expansion.tasks, job.expansion.lines);
        assert_eq!(store.audit_counts(job.no).await.unwrap(), []);
        let counts = store.task_counts(job.no).await.unwrap();
        assert_eq!(counts.total(), job.expansion.tasks);
        assert!((claimed..=claimed + SLICE as u64).contains(&counts.by_status[2]), "{counts:?}, {claimed}");
        store.close().await;
    });
}
