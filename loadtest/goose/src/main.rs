//! Load tests of Otaria's HTTP face with goose: each user is a device that downloads a package, whole and in
//! ranges, and checks what it gets. Knows the wire only: none of Otaria's crates, so it cannot agree with the
//! server by sharing its mistakes.

mod package;

use anyhow::{Context, Result, bail};
use goose::prelude::*;

const PATH: &str = "OTARIA_DOWNLOAD_PATH";

#[tokio::main]
async fn main() -> Result<()> {
    let path = std::env::var(PATH).ok().filter(|path| path.starts_with("/d/"));
    let path = path.with_context(|| {
        format!("set {PATH} to the path of a package's URL, such as /d/AQ…; see loadtest/README.md")
    })?;

    let metrics = GooseAttack::initialize()?
        .register_scenario(package::scenario(path)?)
        .set_default(GooseDefault::Host, "http://127.0.0.1:8080")?
        .set_default(GooseDefault::Users, 50)?
        .set_default(GooseDefault::HatchRate, "50")?
        .set_default(GooseDefault::RunTime, 15)?
        .execute()
        .await?;

    let asked: usize = metrics.requests.values().map(|request| request.raw_data.counter).sum();
    let failed: usize = metrics.requests.values().map(|request| request.fail_count).sum();
    if asked == 0 || failed > 0 {
        bail!("{failed} of {asked} requests failed");
    }
    println!("{asked} requests, none failed");
    Ok(())
}
