//! What devices are told of a package.

use std::time::Duration;

use md5::{Digest, Md5};
use otaria_core::ids::ModuleName;
use otaria_core::rules::{FirmwareParams, MultiFileParams};
use otaria_engine::inbox;
use otaria_ports::store::UploadKind;

use crate::fleet::Temper;
use crate::process::run;
use crate::world::{World, text};

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_package_of_several_files_is_told_with_an_address_for_each() {
    let mut world = World::new(96);
    let devices = world.devices(1, Temper::Silent);
    world.connect(&devices);
    let files = [("app", b"first file".as_slice()), ("data", b"and the second")];
    let told = |(name, bytes): (&str, &[u8])| MultiFileParams {
        name: text(name),
        url: Some(world.upload(UploadKind::Package, bytes)),
        size: Some(i64::try_from(bytes.len()).unwrap()),
        sign_value: Some(md5_of(bytes)),
        file_md5: Some(md5_of(bytes)),
    };
    let params = FirmwareParams {
        product_key: text(&world.product),
        firmware_name: text("several"),
        dest_version: text("3.0.0"),
        sign_method: text("MD5"),
        multi_files: files.map(told).to_vec(),
        need_to_verify: Some(false),
        ..FirmwareParams::default()
    };
    let made = run(world.process.commands.create_firmware(&world.caller, world.now, &params)).unwrap();
    world.firmware = made.id.to_string();
    world.create(&world.all());
    world.run_until("the notice", Duration::from_secs(5), |world| world.wrote.len() == 1);

    let module = ModuleName::default_module();
    let fetched = run(inbox::fetch(&world.process.shell, devices[0], &module, world.now)).unwrap();
    let offer = fetched.unwrap().offer;
    assert_eq!(offer.stream_id, None);
    for (told, (name, bytes)) in offer.files.iter().zip(files) {
        assert_eq!((told.name.as_str(), told.md5.as_str()), (name, md5_of(bytes).as_str()));
        assert_eq!(usize::try_from(told.size).unwrap(), bytes.len());
    }
    assert_eq!(offer.files.len(), 2);
    assert_ne!(offer.files[0].url, offer.files[1].url);
}
