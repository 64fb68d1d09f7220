use std::path::Path;
use std::sync::Arc;

use otaria_core::time::Timestamp;
use otaria_ports::clock::ManualClock;

use super::*;

fn config(folder: &Path) -> HistoryConfig {
    HistoryConfig {
        folder: folder.to_owned(),
        process: "p1".into(),
        version: "1".into(),
        file_bytes: u64::MAX,
        files: 3,
    }
}

fn open(config: HistoryConfig) -> Arc<History> {
    History::open(config, Arc::new(ManualClock::at(Timestamp::from_millis(1_800_000_000_000)))).unwrap()
}

fn waiting(history: &History) -> usize {
    match &history.way {
        Way::Files { shared, .. } => shared.waiting.load(Ordering::SeqCst),
        Way::Memory(_) => 0,
    }
}

fn fenced(fence: u64) -> Fact {
    Fact::Fenced { job: 1, fence }
}

fn tell(history: &History, fences: std::ops::Range<u64>) {
    let drafts: Vec<Draft> = fences.map(|fence| Draft { from: 1, at: 2, fact: fenced(fence) }).collect();
    history.tell(drafts.into_iter());
}

fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fences(lines: &[Line]) -> Vec<u64> {
    let fence = |line: &Line| match &line.fact {
        Fact::Fenced { fence, .. } => Some(*fence),
        _ => None,
    };
    lines.iter().filter_map(fence).collect()
}

#[test]
fn a_history_begins_with_its_process_and_ends_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(config(folder.path()));
    history.tell_one(Timestamp::from_millis(1_799_999_999_999), fenced(1));
    tell(&history, 2..4);
    history.close();
    tell(&history, 4..5);
    let lines = read(&folder.path().join("p1.ndjson"));
    assert_eq!(lines[0].fact, Fact::Start { process: "p1".into(), version: "1".into() });
    assert_eq!((lines[1].from, lines[1].at), (1_799_999_999_999_000, 1_800_000_000_000_999));
    assert_eq!(fences(&lines), [1, 2, 3]);
    assert_eq!(lines.last().unwrap().fact, Fact::Stop {});
    assert!(lines.iter().map(|line| line.n).eq(1..=5));
}

#[test]
fn full_files_are_followed_by_others_and_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(HistoryConfig { file_bytes: 1, ..config(folder.path()) });
    for fence in 0..6 {
        tell(&history, fence..fence + 1);
        // Written by itself: what waits together goes into one file.
        while waiting(&history) > 0 {
            std::thread::yield_now();
        }
    }
    history.close();
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    let mut lines: Vec<Line> = names.iter().flat_map(|name| read(&folder.path().join(name))).collect();
    for name in &names {
        assert!(matches!(read(&folder.path().join(name))[0].fact, Fact::Start { .. }));
    }
    lines.sort_by_key(|line| line.n);
    assert!(lines.windows(2).all(|pair| pair[0].n + 1 == pair[1].n), "{lines:?}");
    assert_eq!(lines.last().unwrap().fact, Fact::Stop {});
}

#[test]
fn what_the_queue_cannot_hold_is_told_as_lost() {
    let folder = tempfile::tempdir().unwrap();
    let history = open(config(folder.path()));
    let all = LINES as u64;
    tell(&history, 0..all);
    tell(&history, all..all + 10);
    // Whether the second piece found room depends on the thread; nothing may be missing without a word.
    history.close();
    let lines = read(&folder.path().join("p1.ndjson"));
    let told = |line: &Line| match line.fact {
        Fact::Gap { lost } => lost,
        _ => 0,
    };
    let lost: u64 = lines.iter().map(told).sum();
    assert_eq!(fences(&lines).len() as u64 + lost, all + 10);
    assert_eq!(lines.last().unwrap().n, lines.len() as u64 + lost);
}

#[test]
fn a_disk_that_was_full_leaves_a_gap_and_no_half_line() {
    let folder = tempfile::tempdir().unwrap();
    let (process, version) = ("full".to_owned(), "1".to_owned());
    // The second file's name is taken, so it cannot be made until that is gone.
    std::fs::write(folder.path().join("p1.1.ndjson"), "").unwrap();
    let mut writer = Writer {
        files: Files::open(HistoryConfig { file_bytes: 1, ..config(folder.path()) }).unwrap(),
        start: Fact::Start { process, version },
        shared: Arc::default(),
        clock: Arc::new(ManualClock::default()),
        n: 0,
        batch: Batch::default(),
        is_failing: false,
    };
    let mut write = |fence| {
        writer.take(Draft { from: 1, at: 2, fact: fenced(fence) });
        writer.flush();
        writer.shared.lost.load(Ordering::SeqCst)
    };
    assert_eq!(write(1), 0);
    assert_eq!((write(2), write(3)), (1, 2));
    std::fs::remove_file(folder.path().join("p1.1.ndjson")).unwrap();
    assert_eq!(write(4), 0);
    let lines = read(&folder.path().join("p1.1.ndjson"));
    assert!(matches!(lines[0].fact, Fact::Start { .. }));
    assert_eq!(lines[1].fact, Fact::Gap { lost: 2 });
    assert_eq!(fences(&lines), [4]);
    assert_eq!((lines[0].n, lines[1].n, lines[2].n), (3, 6, 7));
}
