//! Every kept input, through its target, without libFuzzer: what was found once stays repaired.

use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use otaria_fuzz::TARGETS;

/// Bytes of all kept inputs at most.
const KEPT_BYTES: u64 = 200 * 1024;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_is_taken_by_its_target() {
    let mut failed = Vec::new();
    for target in TARGETS {
        let kept = files(&corpus().join(target.name));
        assert!(kept.len() >= 10, "{} has {} inputs", target.name, kept.len());
        for path in kept {
            let input = std::fs::read(&path).unwrap();
            if catch_unwind(|| (target.run)(&input)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "these are not taken: {failed:#?}");
}

#[test]
fn what_is_kept_is_small_and_belongs_to_a_target() {
    let folders = files(&corpus());
    let names: Vec<_> = folders.iter().map(|folder| folder.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, TARGETS.map(|target| target.name));
    let kept = folders.iter().flat_map(|folder| files(folder));
    let bytes: u64 = kept.map(|path| path.metadata().unwrap().len()).sum();
    assert!(bytes <= KEPT_BYTES, "{bytes} bytes are kept");
}
