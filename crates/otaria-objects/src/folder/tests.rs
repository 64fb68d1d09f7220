use std::fs;

use futures_util::TryStreamExt;
use otaria_ports::objects::contract;
use tempfile::TempDir;

use super::*;

async fn folder() -> (TempDir, FolderObjects) {
    let dir = tempfile::tempdir().unwrap();
    let objects = FolderObjects::open(dir.path().join("objects")).await.unwrap();
    (dir, objects)
}

async fn put(objects: &FolderObjects, key: &str, bytes: &[u8]) {
    let mut upload = objects.begin(key).await.unwrap();
    for part in bytes.chunks(10_000) {
        upload.write(Bytes::copy_from_slice(part)).await.unwrap();
    }
    upload.finish().await.unwrap();
}

/// Every file below a folder, sorted.
fn files(folder: &FsPath) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.file_name().into_string().unwrap());
        }
    }
    found.sort();
    found
}

/// Dropped uploads are removed by a thread of the pool.
async fn until(done: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(done(), "still not so after five seconds");
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    let (_dir, objects) = folder().await;
    contract::a_finished_upload_reads_back(&objects).await;
    contract::a_dropped_upload_leaves_nothing(&objects).await;
    contract::an_empty_object_exists(&objects).await;
    objects.check().await.unwrap();
    until(|| files(&objects.folder) == ["c.bin"]).await;
}

#[tokio::test]
async fn a_large_object_is_read_in_small_pieces() {
    let (_dir, objects) = folder().await;
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
    put(&objects, "package/large.bin", &bytes).await;

    for range in [0..3_000_001_usize, 0..1, 32_767..32_769, 1_000_000..2_500_000, 3_000_000..3_000_001, 5..5]
    {
        let wanted = range.start as u64..range.end as u64;
        let pieces: Vec<Bytes> =
            objects.read("package/large.bin", wanted).await.unwrap().try_collect().await.unwrap();
        assert!(pieces.iter().all(|piece| piece.len() as u64 <= PIECE_BYTES));
        assert!(pieces.concat() == bytes[range.clone()], "{range:?}");
    }
}

#[tokio::test]
async fn a_download_ends_with_an_error_when_its_object_shrinks() {
    let (_dir, objects) = folder().await;
    put(&objects, "a", &[1; 100_000]).await;
    let mut pieces = objects.read("a", 0..100_000).await.unwrap();
    assert!(pieces.try_next().await.unwrap().is_some());

    fs::OpenOptions::new().write(true).open(objects.folder.join("a")).unwrap().set_len(40_000).unwrap();
    let rest: Result<Vec<Bytes>, ObjectError> = pieces.try_collect().await;
    assert!(matches!(rest, Err(ObjectError::Unavailable { .. })));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (_dir, objects) = folder().await;
    assert!(matches!(objects.size("a").await, Err(ObjectError::NotFound)));
    assert!(matches!(objects.read("a", 0..1).await, Err(ObjectError::NotFound)));
    put(&objects, "dir/a", b"x").await;
    assert!(matches!(objects.read("dir", 0..1).await, Err(ObjectError::NotFound)), "a folder is no object");
}

#[tokio::test]
async fn no_key_leads_out_of_the_folder() {
    let (dir, objects) = folder().await;
    fs::write(dir.path().join("secret"), "s").unwrap();
    for key in ["../secret", "/etc/passwd", "a/../../secret", "%2e%2e/secret", "..\\secret", "a#1"] {
        assert!(objects.begin(key).await.is_err(), "{key}");
        assert!(matches!(objects.size(key).await, Err(ObjectError::NotFound)), "{key}");
        assert!(matches!(objects.read(key, 0..1).await, Err(ObjectError::NotFound)), "{key}");
        objects.delete(key).await.unwrap();
    }
    assert_eq!(files(dir.path()), ["secret"]);
}

#[tokio::test]
async fn a_crash_leaves_only_what_the_next_start_sweeps() {
    let (_dir, objects) = folder().await;
    put(&objects, "package/whole.bin", b"whole").await;
    // A process that dies runs no destructors.
    for key in ["package/half.bin", "package/half.bin", "list/other.csv"] {
        let mut upload = objects.begin(key).await.unwrap();
        upload.write(Bytes::from_static(b"half")).await.unwrap();
        std::mem::forget(upload);
    }
    assert!(matches!(objects.size("package/half.bin").await, Err(ObjectError::NotFound)));

    let again = FolderObjects::open(&objects.folder).await.unwrap();
    assert_eq!(again.sweep_unfinished().await.unwrap(), 3);
    assert_eq!(again.sweep_unfinished().await.unwrap(), 0);
    assert_eq!(files(&objects.folder), ["whole.bin"]);
    put(&again, "package/half.bin", b"second try").await;
    assert_eq!(again.size("package/half.bin").await.unwrap(), 10);
}

#[tokio::test]
async fn beside_other_processes_only_uploads_that_rest_are_swept() {
    let (_dir, objects) = folder().await;
    let hour = Duration::from_secs(3_600);
    let mut uploads = Vec::new();
    for key in ["package/dead.bin", "package/living.bin"] {
        let mut upload = objects.begin(key).await.unwrap();
        upload.write(Bytes::from_static(b"half")).await.unwrap();
        uploads.push(upload);
    }
    let living = uploads.pop().unwrap();
    std::mem::forget(uploads);
    put(&objects, "package/old.bin", b"whole").await;
    for name in ["package/dead.bin#1", "package/old.bin"] {
        let file = fs::OpenOptions::new().write(true).open(objects.folder.join(name)).unwrap();
        let changed = file.metadata().unwrap().modified().unwrap();
        file.set_modified(changed - 2 * hour).unwrap();
    }
    // Somebody asks for the time just now.
    fs::write(objects.folder.join("clock#0"), "").unwrap();

    assert_eq!(objects.sweep_abandoned(hour).await.unwrap(), 1);
    living.finish().await.unwrap();
    assert_eq!(files(&objects.folder), ["clock#0", "living.bin", "old.bin"]);
}

#[tokio::test]
async fn two_uploads_of_one_key_do_not_mix() {
    let (_dir, objects) = folder().await;
    let mut first = objects.begin("a").await.unwrap();
    let mut second = objects.begin("a").await.unwrap();
    for _ in 0..10 {
        first.write(Bytes::from_static(b"1")).await.unwrap();
        second.write(Bytes::from_static(b"22")).await.unwrap();
    }
    second.finish().await.unwrap();
    first.finish().await.unwrap();
    assert_eq!(fs::read(objects.folder.join("a")).unwrap(), [b'1'; 10]);
}

#[tokio::test]
async fn readiness_fails_where_nothing_can_be_written() {
    let (dir, objects) = folder().await;
    fs::remove_dir(&objects.folder).unwrap();
    fs::write(dir.path().join("objects"), "a file now").unwrap();
    assert!(objects.check().await.is_err());
    assert!(FolderObjects::open(dir.path().join("objects")).await.is_err());
}
