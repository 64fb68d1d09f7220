//! Downloads of one package.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use goose::goose::GooseResponse;
use goose::prelude::*;

/// Bytes of one range: what a small device asks for at a time.
const PART_BYTES: u64 = 64 * 1024;

/// What a user knows of the package.
struct Package {
    path: Arc<str>,
    size: u64,
}

/// Draws the beginnings of ranges: spread over the package, the same in each run.
static DRAWN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn scenario(path: String) -> Result<Scenario, GooseError> {
    let path: Arc<str> = path.into();
    let learn = Transaction::new(Arc::new(move |user: &mut GooseUser| {
        let path = path.clone();
        Box::pin(async move { learn(user, path).await })
    }));
    let scenario = scenario!("package downloads")
        .register_transaction(learn.set_name("learn the size").set_on_start())
        .register_transaction(transaction!(whole).set_name("whole").set_weight(2)?)
        .register_transaction(transaction!(part).set_name("part").set_weight(8)?)
        .register_transaction(transaction!(health).set_name("health").set_weight(1)?);
    Ok(scenario)
}

async fn learn(user: &mut GooseUser, path: Arc<str>) -> TransactionResult {
    let builder = user.get_request_builder(&GooseMethod::Head, &path)?;
    let request = GooseRequest::builder().set_request_builder(builder).name("/d/{token} HEAD").build();
    let answer = user.request(request).await?;
    match header(&answer, "content-length").and_then(|size| size.parse().ok()) {
        Some(size) if size > 0 => user.set_session_data(Package { path, size }),
        _ => return wrong(user, answer, "the package's size is not told"),
    }
    Ok(())
}

async fn whole(user: &mut GooseUser) -> TransactionResult {
    let Some(Package { path, size }) = user.get_session_data::<Package>() else { return Ok(()) };
    let size = *size;
    let builder = user.get_request_builder(&GooseMethod::Get, path)?;
    let request = GooseRequest::builder().set_request_builder(builder).name("/d/{token} whole").build();
    let answer = user.request(request).await?;
    if status(&answer) != Some(200) || header(&answer, "content-length") != Some(size.to_string()) {
        return wrong(user, answer, "not the whole package");
    }
    same_length(user, answer, size).await
}

async fn part(user: &mut GooseUser) -> TransactionResult {
    let Some(Package { path, size }) = user.get_session_data::<Package>() else { return Ok(()) };
    let size = *size;
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
    let first = drawn % size;
    let last = (first + PART_BYTES).min(size) - 1;

    let builder = user.get_request_builder(&GooseMethod::Get, path)?;
    let builder = builder.header("Range", format!("bytes={first}-{last}"));
    let request = GooseRequest::builder()
        .set_request_builder(builder)
        .name("/d/{token} part")
        .expect_status_code(206)
        .build();
    let answer = user.request(request).await?;
    if header(&answer, "content-range") != Some(format!("bytes {first}-{last}/{size}")) {
        return wrong(user, answer, "not the part that was asked for");
    }
    same_length(user, answer, last - first + 1).await
}

async fn health(user: &mut GooseUser) -> TransactionResult {
    user.get("/healthz").await?;
    Ok(())
}

fn status(answer: &GooseResponse) -> Option<u16> {
    answer.response.as_ref().ok().map(|response| response.status().as_u16())
}

fn header(answer: &GooseResponse, name: &str) -> Option<String> {
    let response = answer.response.as_ref().ok()?;
    Some(response.headers().get(name)?.to_str().ok()?.to_owned())
}

/// Reads the body to its end; one that is cut short is a failure as well.
async fn same_length(user: &mut GooseUser, answer: GooseResponse, length: u64) -> TransactionResult {
    let mut told = answer.request;
    let read = match answer.response {
        Ok(response) => response.bytes().await.map(|bytes| bytes.len() as u64).ok(),
        Err(_) => None,
    };
    if read == Some(length) {
        return Ok(());
    }
    user.set_failure("the body has another length than promised", &mut told, None, None)
}

fn wrong(user: &mut GooseUser, answer: GooseResponse, why: &str) -> TransactionResult {
    let mut told = answer.request;
    user.set_failure(why, &mut told, None, None)
}
