//! Uploads and firmware.

use otaria_core::firmware::{FirmwareStatus, NewFile, SignMethod};
use otaria_core::ids::{DEFAULT_ACCOUNT, FirmwareId, FirmwareNo, ProductNo};
use otaria_core::job::{JobStatus, Target};

use super::assert_refused;
use super::world::{World, at, module, new_firmware, new_job, version};
use crate::store::{
    Firmware, FirmwareFilter, JobMove, PackageFile, SourceKind, Store, StoredUpload, UploadKind,
};

const FREE: FirmwareStatus = FirmwareStatus::NoVerificationNeeded;

fn upload(url: &str, seconds: i64) -> StoredUpload {
    StoredUpload {
        url: url.to_owned(),
        account: DEFAULT_ACCOUNT,
        kind: UploadKind::NameList,
        object: format!("list/{url}"),
        size: 5_000_000_000,
        md5: "a".repeat(32),
        sha256: "b".repeat(64),
        lines: 1_000_000,
        created_at: at(seconds),
    }
}

/// An upload is kept as it came, for its account only, and its URL is given once.
pub async fn an_upload_belongs_to_its_account(store: &dyn Store) {
    let other = store.create_account("second", at(0)).await.unwrap().no;
    let kept = upload("https://files/1", 1);
    store.put_upload(&kept).await.unwrap();
    assert_eq!(store.upload(DEFAULT_ACCOUNT, &kept.url).await.unwrap().as_ref(), Some(&kept));
    assert_eq!(store.upload(other, &kept.url).await.unwrap(), None);
    assert_eq!(store.upload(DEFAULT_ACCOUNT, "https://files/2").await.unwrap(), None);

    let again = StoredUpload { account: other, ..kept.clone() };
    assert_refused!(store.put_upload(&again).await, Exists);
    assert_eq!(store.upload(other, &kept.url).await.unwrap(), None);
}

/// Old uploads are forgotten and returned, oldest first and a few at a time.
pub async fn old_uploads_are_forgotten(store: &dyn Store) {
    let uploads = [upload("u/c", 3), upload("u/a", 1), upload("u/b", 2), upload("u/d", 10)];
    for upload in &uploads {
        store.put_upload(upload).await.unwrap();
    }
    let expired = store.expire_uploads(at(10), 2).await.unwrap();
    assert_eq!(expired, [uploads[1].clone(), uploads[2].clone()]);
    assert_eq!(store.expire_uploads(at(10), 2).await.unwrap(), [uploads[0].clone()]);
    assert_eq!(store.expire_uploads(at(10), 2).await.unwrap(), []);
    assert_eq!(store.upload(DEFAULT_ACCOUNT, "u/a").await.unwrap(), None);
    assert!(store.upload(DEFAULT_ACCOUNT, "u/d").await.unwrap().is_some());
}

/// What a firmware is made of stays for ever, and a name list until its job has ended.
pub async fn uploads_in_use_are_not_forgotten(store: &dyn Store) {
    let world = World::new(store).await;
    let package = StoredUpload { kind: UploadKind::Package, ..upload(&world.firmware.files[0].url, 1) };
    let list = upload("https://files/list", 2);
    for upload in [&package, &list] {
        store.put_upload(upload).await.unwrap();
    }
    let mut create = new_job(&world.firmware, "job1");
    create.new.target = Target::ListFile { file_url: list.url.clone() };
    create.source = SourceKind::File { object: list.object.clone(), size: list.size };
    let job = world.run(&create, &[]).await;
    assert_eq!(job.source, create.source);
    assert_eq!(store.expire_uploads(at(100), 10).await.unwrap(), []);

    let end = JobMove {
        job: job.no,
        from: JobStatus::InProgress,
        to: JobStatus::Completed,
        only_if_done: true,
        fence: false,
        firmware: None,
    };
    assert!(store.move_job(&end, at(50)).await.unwrap());
    assert_eq!(store.expire_uploads(at(100), 10).await.unwrap(), [list]);
    assert_eq!(store.upload(DEFAULT_ACCOUNT, &package.url).await.unwrap(), Some(package));
}

/// A firmware is kept as it came, but for its number and times; it is its account's.
pub async fn a_firmware_is_kept_as_it_came(store: &dyn Store) {
    let world = World::new(store).await;
    let other = store.create_account("second", at(0)).await.unwrap().no;
    let mut new = new_firmware(&world.product, "fwMany", "camera", FirmwareStatus::NotVerified);
    new.new.sign_method = SignMethod::Sha256;
    new.new.udi = "{\"any\": \"thing\"}".into();
    new.new.kind = otaria_core::firmware::FirmwareKind::Difference { src_version: version("1.9") };
    new.new.files = ["b", "a"]
        .map(|name| NewFile {
            name: Some(name.into()),
            url: format!("https://files/{name}"),
            size_bytes: None,
            sign: None,
            md5: None,
        })
        .into();
    let file = |file: &NewFile| PackageFile {
        name: file.name.clone().unwrap(),
        url: file.url.clone(),
        object: format!("package/{}", file.url),
        size: 3,
        md5: "1".repeat(32),
        sha256: "2".repeat(64),
    };
    new.files = new.new.files.iter().map(file).collect();

    let made = store.create_firmware(&new, at(6)).await.unwrap();
    assert_eq!(made, Firmware { no: made.no, created_at: at(6), modified_at: at(6), ..new });
    assert_eq!(store.firmware(DEFAULT_ACCOUNT, &made.id).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.firmware_by_no(made.no).await.unwrap().as_ref(), Some(&made));
    assert_eq!(store.firmware(other, &made.id).await.unwrap(), None);
    assert_eq!(store.firmware_by_no(FirmwareNo(made.no.0 + 1)).await.unwrap(), None);
}

/// A firmware's name is unique in its account, and its product is the account's.
pub async fn a_firmware_name_is_unique_in_its_account(store: &dyn Store) {
    let world = World::new(store).await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    let other = World::of_account(store, account, "a1Other").await;
    let same_name = |product, id: &str| {
        let mut new = new_firmware(product, id, "default", FREE);
        new.new.name = world.firmware.new.name.clone();
        new
    };
    assert_refused!(store.create_firmware(&same_name(&world.product, "fw2"), at(1)).await, Exists);
    store.create_firmware(&same_name(&other.product, "fw2"), at(1)).await.unwrap();

    let mut foreign = new_firmware(&world.product, "fw3", "default", FREE);
    foreign.account = account;
    assert_refused!(store.create_firmware(&foreign, at(1)).await, NotFound);
    foreign.product = ProductNo(other.product.no.0 + 1);
    assert_refused!(store.create_firmware(&foreign, at(1)).await, NotFound);
}

/// An account has 500 firmwares at most; others are not affected.
pub async fn an_account_has_500_firmwares_at_most(store: &dyn Store) {
    let world = World::new(store).await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    for n in 1..500 {
        let new = new_firmware(&world.product, &format!("fw{n:03}"), "default", FREE);
        store.create_firmware(&new, at(1)).await.unwrap();
    }
    let one_more = new_firmware(&world.product, "fwMore", "default", FREE);
    assert_refused!(store.create_firmware(&one_more, at(1)).await, Conflict);
    let (_, total) =
        store.firmwares(DEFAULT_ACCOUNT, &FirmwareFilter::default(), FirmwareNo(0), 1).await.unwrap();
    assert_eq!(total, 500);
    World::of_account(store, account, "a1Other").await;
}

/// Firmware is filtered by product and version and paged by number, with the count of all that match.
pub async fn firmwares_are_filtered_and_paged(store: &dyn Store) {
    let world = World::new(store).await;
    let second = World::of_account(store, DEFAULT_ACCOUNT, "a1Second").await;
    let account = store.create_account("second", at(0)).await.unwrap().no;
    World::of_account(store, account, "a1Other").await;
    let mut made = vec![world.firmware.clone()];
    for n in 0..4 {
        let mut new = new_firmware(&world.product, &format!("fw{n}"), "default", FREE);
        new.new.module = module("camera");
        if n % 2 == 0 {
            new.new.dest_version = version("3.0");
        }
        made.push(store.create_firmware(&new, at(n)).await.unwrap());
    }
    let ids = |firmwares: &[Firmware]| -> Vec<FirmwareId> {
        firmwares.iter().map(|firmware| firmware.id.clone()).collect()
    };
    let all = FirmwareFilter::default();
    let (page, total) = store.firmwares(DEFAULT_ACCOUNT, &all, FirmwareNo(0), 100).await.unwrap();
    assert_eq!((page.len(), total), (6, 6));
    assert!(page.is_sorted_by_key(|firmware| firmware.no));
    assert!(page.contains(&second.firmware));

    let ours = FirmwareFilter { product: Some(world.product.new.key.clone()), dest_version: None };
    let (page, total) = store.firmwares(DEFAULT_ACCOUNT, &ours, FirmwareNo(0), 3).await.unwrap();
    assert_eq!((ids(&page), total), (ids(&made[..3]), 5));
    let (page, total) = store.firmwares(DEFAULT_ACCOUNT, &ours, page[2].no, 3).await.unwrap();
    assert_eq!((ids(&page), total), (ids(&made[3..]), 5));

    let third = FirmwareFilter { dest_version: Some(version("3.0")), ..ours };
    let (page, total) = store.firmwares(DEFAULT_ACCOUNT, &third, FirmwareNo(0), 9).await.unwrap();
    assert_eq!((ids(&page), total), (ids(&[made[1].clone(), made[3].clone()]), 2));
}
