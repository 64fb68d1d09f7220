//! The README's five minutes, typed as they stand there.
//!
//! Every `sh` block of the section runs in one shell, in the folder of a fresh server, with this binary on
//! the path; only the ports are others. So a command that is renamed breaks this test and not a newcomer.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::server::{Server, run};

const SECTION: &str = "## Five minutes";
/// The block that starts the server, which the test has running already.
const SERVE: &str = "otaria serve\n";

/// The shell blocks of the section, in order.
fn blocks(readme: &str) -> Vec<String> {
    let section = readme.split(SECTION).nth(1).expect("the section is there");
    let section = section.split("\n## ").next().unwrap_or_default();
    let blocks = section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_five_minutes_of_the_readme_end_with_an_updated_fleet() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut blocks = blocks(&std::fs::read_to_string(root.join("README.md")).unwrap());
    assert_eq!(blocks.remove(0), SERVE, "the tour begins with a server");
    assert!(blocks.len() >= 3, "{blocks:?}");

    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_otaria"));
    // The job's id is what the last command tells; a reader would copy it.
    let script = [
        "set -euo pipefail\n{\n",
        &blocks.concat(),
        "} > told.txt\ncat told.txt\n",
        "JOB=$(sed -n 's/^job \\([0-9A-Za-z]*\\) is made$/\\1/p' told.txt | tail -n 1)\n",
        "otaria job watch \"$JOB\" | tail -n 1\nkill %1\n",
    ]
    .concat();
    let mut shell = Command::new("bash");
    shell
        .arg("-c")
        .arg(script)
        .current_dir(folder.path())
        .env("PATH", format!("{}:{}", binary.parent().unwrap().display(), std::env::var("PATH").unwrap()))
        .env("OTARIA_DATA_DIR", server.data_dir())
        .env("OTARIA_ENDPOINT", format!("http://{}", server.at().grpc))
        .env("OTARIA_MQTT", server.at().mqtt.to_string())
        .kill_on_drop(true);
    let ended = run(&mut shell, Duration::from_secs(90)).await;
    assert!(ended.status.success(), "{}\n{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("99 succeeded"), "{}\n{}", ended.stdout, ended.stderr);
}
