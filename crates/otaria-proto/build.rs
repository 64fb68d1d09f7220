//! Generates Rust from `proto/` at the root of the workspace, without a `protoc` on the machine.

use std::{env, error::Error, fs, path::Path};

use prost::Message;

/// The root that imports in the .proto files start from, as seen from this crate.
const ROOT: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={ROOT}/otaria");

    let mut files = Vec::new();
    for entry in fs::read_dir(Path::new(ROOT).join("otaria/v1"))? {
        files.push(entry?.path());
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();

    let mut descriptors = protox::compile(&files, [ROOT])?;

    tonic_prost_build::configure()
        // What a face does not serve yet answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        // Chunks of uploads are handed on, not copied.
        .bytes(".otaria.v1.UploadFirmwareFileRequest.chunk")
        .bytes(".otaria.v1.UploadDeviceNameListRequest.chunk")
        .compile_fds(descriptors.clone())?;

    // Reflection serves names and types; the comments would only make it thrice as large.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), descriptors.encode_to_vec())?;

    Ok(())
}
