//! Reject files: the lines of a job's list that made no task, one a line, `name`, tab, `reason`. For platforms,
//! not for devices: the length is not told, and there are no ranges.
//!
//! Never holds a file: the next page is read when the connection took the last one.
//!
//! Invariant: a file that ends well has as many lines as the job counted. When some are gone meanwhile, since
//! the job's time is over, the connection is cut within the chunked text: nobody takes half of them for all.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use futures_util::{Stream, stream};
use otaria_core::ids::{JobId, JobNo};
use otaria_ports::store::{Jobs, RejectedLine, StoreError};

use crate::download::{ROUTE, busy, set};
use crate::face::{Inner, text};
use crate::meters;

/// Lines of a page. About 40 bytes each, 260 at most: what one download holds of a file, however long it is.
const PAGE_LINES: usize = 1_000;
/// Bytes of a line for which a page has room from the start.
const LINE_BYTES: usize = 48;

/// What a job rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejects {
    /// The job's public id.
    pub job: JobId,
    /// How many lines.
    pub lines: u64,
}

/// Finds the lines of jobs' lists that made no task.
#[async_trait]
pub trait RejectedLines: Send + Sync {
    /// How many a job has; `None` when there is no such job.
    async fn rejects(&self, job: JobNo) -> Result<Option<Rejects>, StoreError>;

    /// Those after the `after`th, at most `limit`.
    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError>;
}

/// The rejected lines in a store.
#[derive(Debug)]
pub struct StoreRejects<S: ?Sized>(pub Arc<S>);

#[async_trait]
impl<S: Jobs + ?Sized> RejectedLines for StoreRejects<S> {
    async fn rejects(&self, job: JobNo) -> Result<Option<Rejects>, StoreError> {
        let found = self.0.jobs_by_no(&[job]).await?.pop();
        Ok(found.map(|job| Rejects { job: job.id, lines: job.expansion.rejected.total() }))
    }

    async fn rejected_lines(
        &self,
        job: JobNo,
        after: u64,
        limit: usize,
    ) -> Result<Vec<RejectedLine>, StoreError> {
        self.0.rejected_lines(job, after, limit).await
    }
}

/// A page that is no more as it was.
#[derive(Debug, thiserror::Error)]
enum CutShort {
    #[error("rejected lines are gone after the first {after}")]
    Gone { after: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers with a job's rejected lines.
pub(crate) async fn reject_file(face: &Inner, method: &Method, job: JobNo) -> Response {
    match begin(&face.rejects, job).await {
        Ok(Some((rejects, first))) => {
            let body = if method == Method::HEAD {
                // A stream of nothing, not an empty body: that one would have a length.
                Body::from_stream(stream::empty::<Result<Bytes, CutShort>>())
            } else {
                Body::from_stream(pages(Arc::clone(&face.rejects), job, rejects.lines, first))
            };
            describe(&rejects.job, body)
        }
        Ok(None) => text(ROUTE, StatusCode::NOT_FOUND, "these lines are no longer here\n"),
        Err(error) => {
            tracing::warn!(job.no = job.0, %error, "cannot look rejected lines up");
            busy()
        }
    }
}

/// What a job rejected, with the first page; `None` when the job or its lines are gone.
async fn begin(
    source: &Arc<dyn RejectedLines>,
    job: JobNo,
) -> Result<Option<(Rejects, Vec<RejectedLine>)>, StoreError> {
    let Some(rejects) = source.rejects(job).await? else { return Ok(None) };
    let first = source.rejected_lines(job, 0, PAGE_LINES).await?;
    let gone = first.is_empty() && rejects.lines > 0;
    Ok((!gone).then_some((rejects, first)))
}

/// The text of `total` lines, page by page, beginning with one that is there already.
fn pages(
    source: Arc<dyn RejectedLines>,
    job: JobNo,
    total: u64,
    first: Vec<RejectedLine>,
) -> impl Stream<Item = Result<Bytes, CutShort>> + Send {
    stream::try_unfold((source, 0, Some(first)), move |(source, after, ready)| async move {
        if after >= total {
            return Ok(None);
        }
        let page = match ready {
            Some(page) => Ok(page),
            None => source.rejected_lines(job, after, PAGE_LINES).await.map_err(CutShort::from),
        };
        let page =
            page.and_then(|page| if page.is_empty() { Err(CutShort::Gone { after }) } else { Ok(page) });
        let page = page.inspect_err(|error| {
            tracing::warn!(job.no = job.0, %error, "a reject file was cut short");
        })?;
        let after = after + page.len() as u64;
        Ok(Some((written(&page), (source, after, None))))
    })
}

fn written(page: &[RejectedLine]) -> Bytes {
    let mut written = String::with_capacity(page.len() * LINE_BYTES);
    for line in page {
        // The store keeps printable text; a character that would break the form is made visible all the same.
        written
            .extend(line.text.chars().map(|c| if breaks_lines(c) { char::REPLACEMENT_CHARACTER } else { c }));
        written.push('\t');
        written.push_str(line.cause.as_str());
        written.push('\n');
    }
    written.into()
}

/// Whether somebody may take a character for the end of a field or a line.
fn breaks_lines(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

fn describe(job: &JobId, body: Body) -> Response {
    meters::answered(ROUTE, StatusCode::OK);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // An id has letters and digits only: nothing to be quoted.
    set(headers, CONTENT_DISPOSITION, &format!("attachment; filename=\"rejects-{job}.tsv\""));
    response
}

#[cfg(test)]
mod tests {
    use otaria_ports::events::NoEvents;
    use otaria_ports::store::contract::world::{World, at, new_job, slice};
    use otaria_ports::store::memory::{Fault, MemoryStore};
    use otaria_ports::store::{RejectCause, Rejections, Slice, Store};

    use super::*;

    fn line(text: &str, cause: RejectCause) -> RejectedLine {
        RejectedLine { text: text.to_owned(), cause }
    }

    #[test]
    fn a_line_is_a_name_a_tab_and_a_reason_whatever_the_name_is() {
        let page = [
            line("dev-1", RejectCause::Unknown),
            line("dev-2", RejectCause::Duplicate),
            line("a\tb\r\nc\u{85}d\u{2028}e\0", RejectCause::Malformed),
            line("Gerät 1", RejectCause::Malformed),
            line("", RejectCause::Malformed),
        ];
        let lines = "dev-1\tunknown\ndev-2\tduplicate\na\u{fffd}b\u{fffd}\u{fffd}c\u{fffd}d\u{fffd}e\u{fffd}\t\
                     malformed\nGerät 1\tmalformed\n\tmalformed\n";
        assert_eq!(written(&page), lines);
    }

    #[tokio::test]
    async fn lines_are_found_by_job_and_place_and_trouble_is_passed_on() {
        let memory = Arc::new(MemoryStore::new(Arc::new(NoEvents)));
        let world = World::new(&*memory).await;
        let job = world.make(&new_job(&world.firmware, "job1")).await;
        let all = ["a/b", "c/d", "e/f"].map(|text| line(text, RejectCause::Malformed));
        let last = Slice {
            rejects: all.to_vec(),
            rejected: Rejections { malformed: 3, ..Rejections::default() },
            lines: 3,
            complete: true,
            ..slice(&job, 0, &[])
        };
        memory.expand(&last, at(1)).await.unwrap();
        // As the binary holds it: without its type.
        let source = StoreRejects(Arc::clone(&memory) as Arc<dyn Store>);

        let rejects = Rejects { job: job.id.clone(), lines: 3 };
        assert_eq!(source.rejects(job.no).await.unwrap(), Some(rejects));
        assert_eq!(source.rejected_lines(job.no, 1, 1).await.unwrap(), all[1..2]);
        assert_eq!(source.rejects(JobNo(job.no.0 + 1)).await.unwrap(), None);

        memory.fail_next(1, Fault::Before);
        let failed = source.rejects(job.no).await;
        assert!(matches!(failed, Err(StoreError::Unavailable { .. })));
    }
}
