//! `kill -9` at any moment, again and again on one directory: while a job is being created, expanded,
//! dispatched, reported on and cancelled, and while the server starts. Nothing is lost, nothing is doubled,
//! and the pace holds, by the devices' own record.

mod cast;
mod killer;
mod list;
mod verdict;

use std::time::Duration;

use otaria_proto::v1::{CancelOtaTaskByJobRequest, CreateOtaStaticUpgradeJobRequest, JobStatus, TaskCounts};
use tonic::Code;

use self::cast::Cast;
use self::killer::Killer;
use self::list::List;
use crate::faces::{Faces, firmly};
use crate::rollout::{create_by_list, firmware, list_job, query, upload_list};
use crate::{eventually, full, seed};

/// How long all online devices may take to be final: kills cost seconds each, and lost notices 5 s more.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a round is like.
struct Round {
    maximum_per_minute: i32,
    /// Tries after the first.
    retry_count: Option<i32>,
    version: String,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_moment_the_server_loses_nothing_and_keeps_the_pace() {
    let seed = seed();
    let mut killer = Killer::start(seed).await;
    let faces = killer.server.faces();
    let cast = Cast::gather(&faces, killer.server.at().mqtt, &mut killer.dice).await;
    let slow = Slow::begin(&faces, &cast).await;

    let paces: &[i32] =
        if full() { &[3_000, 900, 1_200, 10_000, 600, 2_000, 1_500, 300] } else { &[3_000, 1_200, 900] };
    let mut ended: Vec<(String, TaskCounts)> = Vec::new();
    for (number, maximum_per_minute) in paces.iter().enumerate() {
        let retry_count = [None, Some(1), Some(2)][number % 3];
        let version = format!("{}.0.0", number + 2);
        let round = Round { maximum_per_minute: *maximum_per_minute, retry_count, version };
        let begun = tokio::time::Instant::now();
        ended.push(play(&mut killer, &faces, &cast, &round).await);
        println!("round {number} at {maximum_per_minute} a minute took {} ms", crate::ms(begun));
    }

    // Nothing that has ended moved later.
    for (job, counts) in &ended {
        assert_eq!(query(&faces, job).await.task_counts.as_ref(), Some(counts), "job {job}");
    }
    slow.end(&faces, &cast).await;
    killer.server.assert_healthy().await;
    killer.report();
    assert!(killer.kills() >= 20, "only {} kills", killer.kills());
    assert!(killer.server.terminate().await.success());
}

/// Rolls one version out under fire; returns the job and its counts at the end.
async fn play(killer: &mut Killer, faces: &Faces, cast: &Cast, round: &Round) -> (String, TaskCounts) {
    let firmware_id = firmware(faces, &cast.product, &round.version).await;
    cast.run_ahead(&round.version).await;
    let list = List::write(cast, &mut killer.dice);
    let uploaded = upload_list(faces, &list.bytes).await.unwrap().into_inner();
    assert_eq!(uploaded.line_count, list.lines);

    let request = CreateOtaStaticUpgradeJobRequest {
        maximum_per_minute: Some(round.maximum_per_minute),
        retry_interval: round.retry_count.map(|_| 0),
        retry_count: round.retry_count,
        client_token: Some(format!("round-{}", round.version)),
        ..list_job(&cast.product, &firmware_id, &uploaded.file_url)
    };
    let job = create(killer, faces, request).await;
    interrupt_expansion(killer, faces, &job, list.lines).await;
    interrupt_devices(killer, cast, &round.version).await;

    let finals = cast.final_devices();
    let ran = eventually("all online devices are final", PATIENCE, async || {
        let counts = query(faces, &job).await.task_counts.unwrap_or_default();
        (counts.succeeded + counts.failed >= finals).then_some(counts)
    });
    let counts = ran.await;
    verdict::running(faces, cast, &job, &list, counts).await;

    cancel(killer, faces, &job).await;
    let counts = verdict::ended(faces, killer.server.at().http, cast, round, &job, &list).await;
    (job, counts)
}

/// Creates a job whose server is killed in the middle of the call. The token makes it safe to repeat.
async fn create(killer: &mut Killer, faces: &Faces, request: CreateOtaStaticUpgradeJobRequest) -> String {
    let call = async || faces.jobs().create_ota_static_upgrade_job(request.clone()).await;
    let (made, ()) = tokio::join!(firmly(call), killer.kill_within("create", Duration::from_millis(150)));
    let job = made.unwrap().job_id;
    assert_eq!(firmly(call).await.unwrap().job_id, job, "the same token is the same job");
    job
}

/// Kills while lines become tasks: when so many are done, and a moment later.
async fn interrupt_expansion(killer: &mut Killer, faces: &Faces, job: &str, lines: i64) {
    for _ in 0..3 {
        let begun = query(faces, job).await.expansion.unwrap_or_default();
        if begun.complete {
            println!("  the expansion was faster than the next kill");
            return;
        }
        let wanted = begun.lines + i64::try_from(killer.dice.below(8_000)).unwrap();
        let patience = Duration::from_secs(60);
        eventually("the expansion goes on", patience, async || {
            let expansion = query(faces, job).await.expansion.unwrap_or_default();
            let sum = expansion.tasks + expansion.skipped + expansion.rejected;
            assert_eq!(sum, expansion.lines, "in the middle of the expansion");
            (expansion.complete || expansion.lines >= wanted.min(lines)).then_some(())
        })
        .await;
        killer.kill_within("expansion", Duration::from_millis(25)).await;
    }
}

/// Kills while notices go out and reports come in: when so many devices were told, or are done.
async fn interrupt_devices(killer: &mut Killer, cast: &Cast, version: &str) {
    let mut share = |from: u64, to: u64| from + killer.dice.below(to - from);
    let told = [share(3, 30), share(30, 60), share(60, 90)];
    let done = [share(10, 60), share(60, 98)];
    for percent in told {
        cast.until("devices are told", PATIENCE, percent, |device| device.was_told(version)).await;
        killer.kill_within("dispatch", Duration::from_millis(250)).await;
    }
    for percent in done {
        cast.until("devices are done", PATIENCE, percent, |device| device.version() == version).await;
        killer.kill_within("reports", Duration::from_millis(250)).await;
    }
}

/// Cancels what nobody will fetch, and kills the server meanwhile.
async fn cancel(killer: &mut Killer, faces: &Faces, job: &str) {
    let request = CancelOtaTaskByJobRequest {
        job_id: job.to_owned(),
        cancel_queued_task: Some(true),
        cancel_notified_task: Some(true),
        cancel_in_progress_task: Some(true),
        ..CancelOtaTaskByJobRequest::default()
    };
    let call = async || faces.tasks().cancel_ota_task_by_job(request.clone()).await;
    let (canceled, ()) = tokio::join!(firmly(call), killer.kill_within("cancel", Duration::from_millis(200)));
    // Repeated after it was done, the job has ended already.
    if let Err(status) = canceled {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    }
    eventually("the job has ended", PATIENCE, async || {
        let status = query(faces, job).await.job_status();
        matches!(status, JobStatus::Completed | JobStatus::Canceled).then_some(())
    })
    .await;
}

/// A job that goes on slowly through all rounds and kills: its pace is what many restarts could break.
struct Slow {
    job: String,
}

impl Slow {
    const PACE: i32 = 60;
    const VERSION: &str = "9.9.9";

    async fn begin(faces: &Faces, cast: &Cast) -> Self {
        let firmware_id = firmware(faces, &cast.slow_product, Self::VERSION).await;
        let names: Vec<&str> = cast.slow.iter().map(|device| device.name()).collect();
        let list = names.join("\n").into_bytes();
        let job = create_by_list(faces, &cast.slow_product, &firmware_id, &list, Self::PACE).await;
        Self { job }
    }

    async fn end(self, faces: &Faces, cast: &Cast) {
        let told: Vec<_> = cast.slow.iter().filter(|device| device.was_told(Self::VERSION)).collect();
        println!("the slow job told {} of {} devices", told.len(), cast.slow.len());
        assert!(!told.is_empty(), "it goes on between kills");
        verdict::pace(&cast.slow, Self::VERSION, Self::PACE);
        eventually("all that were told are done", PATIENCE, async || {
            told.iter().all(|device| device.informed() == Self::VERSION).then_some(())
        })
        .await;
        for device in told {
            let wire_ids: std::collections::BTreeSet<u64> =
                device.seen(Self::VERSION).iter().map(|seen| seen.wire_id).collect();
            assert_eq!(wire_ids.len(), 1, "{} without a retry", device.name());
        }
        let tasks = crate::rollout::tasks(faces, &self.job).await;
        assert_eq!(tasks.len(), cast.slow.len());
    }
}
