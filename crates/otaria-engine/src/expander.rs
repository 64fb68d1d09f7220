//! Turns a job's source into tasks, slice by slice.
//!
//! Never decides what a task is: the store writes what a slice says, with the cursor, in one transaction.
//! A crash in between repeats the slice and loses nothing; a second expander finds the cursor moved.
//!
//! Invariant: every line ends in exactly one count: task, skipped or rejected (I4).

mod chunk;
mod group;
mod part;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt;
use futures_util::future::join;
use otaria_core::expression::GroupExpression;
use otaria_core::ids::{DeviceName, JobNo};
use otaria_core::list::ListReader;
use otaria_core::scope::Scope;
use otaria_core::time::Timestamp;
use otaria_ports::bus::Signal;
use otaria_ports::store::{
    Candidate, Cursor, NewTask, RejectCause, RejectedLine, Rejections, Slice, SourceKind, StoreError,
};

use self::chunk::{Chunk, ChunkBuilder, FIRST_CHUNK_LINES};
use self::part::Drawing;
use crate::Wake;
use crate::book::JobFacts;
use crate::error::CommandError;
use crate::ownership::{Ownership, Survey};
use crate::shell::Shell;
use crate::witness;

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Lines accounted for so far.
    pub lines: u64,
    /// Whether the source is used up.
    pub complete: bool,
}

/// What one step read and the next one needs. It can be lost at any moment.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A chunk that has more slices.
    Chunk(Chunk),
    /// A draw that has not seen everybody.
    Draw(Drawing),
}

/// Carries all expansions of this process forward, a slice at a time, each job in turn.
pub struct Expander {
    shell: Arc<Shell>,
    jobs: BTreeSet<JobNo>,
    last: JobNo,
    kept: BTreeMap<JobNo, Kept>,
    survey: Survey,
}

impl Expander {
    /// An expander that knows no job yet.
    #[must_use]
    pub fn new(shell: Arc<Shell>) -> Self {
        let survey = Survey::default();
        Self { shell, jobs: BTreeSet::new(), last: JobNo(0), kept: BTreeMap::new(), survey }
    }

    /// Looks for jobs whose expansion stands: after a start, when other shards are owned, and now and then.
    async fn survey(&mut self) -> Result<(), StoreError> {
        let jobs = self.shell.deps.store.unfinished_jobs().await?;
        self.jobs.extend(jobs.iter().filter(|job| !job.expansion.complete).map(|job| job.no));
        Ok(())
    }

    /// Writes one slice of one job.
    ///
    /// # Errors
    /// When store or objects are not available; the next tick tries again.
    pub async fn tick(&mut self, now: Timestamp, owned: &Ownership) -> Result<Wake, CommandError> {
        if self.survey.is_due(&self.shell, owned, now) {
            let losses = self.shell.losses.load(Ordering::SeqCst);
            self.survey().await?;
            self.survey.done(losses, owned, now);
        }
        let hinted = self.shell.expand_hints.take();
        self.jobs.extend(self.shell.pass_on(hinted, owned));
        self.jobs.retain(|job| owned.carries(*job));
        self.kept.retain(|job, _| owned.carries(*job));
        let next = self.jobs.range((std::ops::Bound::Excluded(self.last), std::ops::Bound::Unbounded)).next();
        let Some(job) = next.or_else(|| self.jobs.first()).copied() else {
            return Ok(Wake::OnSignal);
        };
        self.last = job;
        let kept = self.kept.remove(&job);
        match step(&self.shell, job, kept, now).await? {
            Some((done, _)) if done.complete => drop(self.jobs.remove(&job)),
            Some((_, Some(kept))) => drop(self.kept.insert(job, kept)),
            Some((_, None)) => {}
            // Complete: perhaps by a call whose answer was lost.
            None => {
                self.jobs.remove(&job);
                self.shell.close_hints.add([job]);
            }
        }
        Ok(if self.jobs.is_empty() { Wake::OnSignal } else { Wake::Now })
    }
}

/// Writes the next slice of a job, or carries its draw on; `None` when there is nothing to expand. Gives back
/// what the next step needs.
///
/// # Errors
/// When store or objects are not available.
pub(crate) async fn step(
    shell: &Shell,
    job: JobNo,
    kept: Option<Kept>,
    now: Timestamp,
) -> Result<Option<(Step, Option<Kept>)>, CommandError> {
    // The cursor is read afresh: the book keeps what jobs are, not how far they have come.
    let Some(current) = shell.deps.store.jobs_by_no(&[job]).await?.pop() else { return Ok(None) };
    if current.expansion.complete {
        return Ok(None);
    }
    let Some(facts) = shell.book.one(&*shell.deps.store, job).await? else { return Ok(None) };
    let cursor = current.expansion.cursor;
    let (slice, chunk) = match &current.source {
        SourceKind::Product => (product_slice(shell, &facts, None, cursor).await?, None),
        // Who comes later, the store takes by itself. It makes the expansion of the other mode complete.
        SourceKind::Standing { mode: _, group } => {
            let rule = group.as_ref().map(|group| &group.expression);
            (product_slice(shell, &facts, rule, cursor).await?, None)
        }
        SourceKind::Part { matching, count, last: None } => {
            let kept = kept.and_then(Kept::draw);
            let drawing = part::draw(shell, &facts, (*matching, *count), kept).await?;
            let step = Step { lines: current.expansion.lines, complete: false };
            return Ok(Some((step, drawing.map(Kept::Draw))));
        }
        SourceKind::Part { matching, count, last: Some(last) } => {
            (part::slice(shell, &facts, (*matching, *count), *last, cursor).await?, None)
        }
        SourceKind::Group { group, upto } => {
            (group::slice(shell, &facts, (*group, *upto), cursor).await?, None)
        }
        SourceKind::Names | SourceKind::File { .. } => {
            let kept = kept.and_then(Kept::chunk);
            let mut chunk =
                match kept.filter(|chunk| chunk.offset == cursor.offset && !chunk.last_slice(&cursor)) {
                    Some(chunk) => chunk,
                    None => read_chunk(shell, &facts, &current.source, cursor.offset).await?,
                };
            let slice = list_slice(shell, &facts, &mut chunk, cursor).await?;
            (slice, Some(chunk))
        }
    };
    // Readers do not hold up the writer: the next slice is resolved while this one is written.
    let chunk = chunk.filter(|chunk| slice.to.offset == chunk.offset && slice.to.slice > 0);
    let (written, chunk) =
        join(shell.deps.store.expand(&slice, now), look_ahead(shell, &facts, chunk, slice.to.slice)).await;
    let outcome = match written {
        Ok(outcome) => outcome,
        // It may have been written all the same, and nobody would look at its tasks.
        Err(error @ StoreError::Unavailable { .. }) => {
            let devices = slice.tasks.iter().map(|task| task.device).collect();
            shell.deps.bus.tell(Signal::TasksReady { job, devices });
            return Err(error.into());
        }
        // Somebody else wrote it; the next step reads where the cursor is now. Or a device was deleted after
        // it was looked up; the next step looks again.
        Err(StoreError::Conflict { .. } | StoreError::NotFound { what: "device" }) => {
            return Ok(Some((Step { lines: current.expansion.lines, complete: false }, None)));
        }
        Err(error) => return Err(error.into()),
    };
    if !outcome.queued.is_empty() {
        shell.deps.bus.tell(Signal::TasksReady { job, devices: outcome.queued });
    }
    metrics::counter!("otaria_expanded_lines_total").increment(slice.lines);
    if slice.complete {
        let expansion = &outcome.expansion;
        tracing::info!(
            job.id = %current.id, lines = expansion.lines, tasks = expansion.tasks,
            skipped = expansion.skipped, rejected = expansion.rejected.total(), "expansion complete"
        );
        shell.close_hints.add([job]);
    }
    witness::replaced(&*shell.deps.store, &shell.book, &facts, &outcome.replaced).await;
    let step = Step { lines: outcome.expansion.lines, complete: slice.complete };
    Ok(Some((step, chunk.map(Kept::Chunk))))
}

impl Kept {
    fn chunk(self) -> Option<Chunk> {
        match self {
            Self::Chunk(chunk) => Some(chunk),
            Self::Draw(_) => None,
        }
    }

    fn draw(self) -> Option<Drawing> {
        match self {
            Self::Draw(drawing) => Some(drawing),
            Self::Chunk(_) => None,
        }
    }
}

/// Resolves the names of a slice before its turn. A failure costs nothing: it is tried again in its turn.
async fn look_ahead(shell: &Shell, facts: &JobFacts, chunk: Option<Chunk>, slice: u32) -> Option<Chunk> {
    let mut chunk = chunk?;
    if let Ok(found) = resolve(shell, facts, &chunk.names(slice)).await {
        chunk.ahead = Some((slice, found));
    }
    Some(chunk)
}

async fn resolve(
    shell: &Shell,
    facts: &JobFacts,
    names: &[DeviceName],
) -> Result<Vec<Option<Candidate>>, StoreError> {
    let (job, module) = (&facts.job, &facts.firmware.new.module);
    shell.deps.store.resolve(job.product, job.upto, module, names).await
}

impl Chunk {
    /// Whether the cursor stands behind this chunk's last slice, which cannot be while offsets agree.
    fn last_slice(&self, cursor: &Cursor) -> bool {
        cursor.slice >= self.slices()
    }
}

/// Reads the chunk that begins at an offset: of the file, or of the names kept with the job.
async fn read_chunk(
    shell: &Shell,
    facts: &JobFacts,
    source: &SourceKind,
    offset: u64,
) -> Result<Chunk, CommandError> {
    let product = &facts.job.new.product;
    let mut builder = ChunkBuilder::at(offset, shell.deps.store.slicing());
    let SourceKind::File { object, size } = source else {
        let names = shell.deps.store.job_names(facts.job.no, offset, FIRST_CHUNK_LINES).await?;
        for (n, name) in (offset + 1..).zip(&names) {
            builder.add(Ok(name), n);
        }
        return Ok(builder.build(product, true));
    };
    let mut reader = ListReader::resume_at(offset);
    let mut pieces = shell.deps.objects.read(object, offset..*size).await?;
    while !builder.is_full() {
        let Some(piece) = pieces.next().await else { break };
        builder.take(&mut reader, &piece?);
    }
    let full = builder.is_full();
    if !full {
        builder.finish(&mut reader);
    }
    Ok(builder.build(product, !full))
}

/// One slice of a list: its names resolved and sorted out.
async fn list_slice(
    shell: &Shell,
    facts: &JobFacts,
    chunk: &mut Chunk,
    cursor: Cursor,
) -> Result<Slice, CommandError> {
    let job = &facts.job;
    let names = chunk.names(cursor.slice);
    let found = match chunk.ahead.take() {
        Some((slice, found)) if slice == cursor.slice => found,
        _ => resolve(shell, facts, &names).await?,
    };
    let last_slice = cursor.slice + 1 >= chunk.slices();
    let to = if last_slice {
        Cursor { offset: chunk.end, slice: 0, after: None }
    } else {
        Cursor { offset: chunk.offset, slice: cursor.slice + 1, after: None }
    };
    let mut slice = empty_slice(job.no, cursor, to, last_slice && chunk.last);
    slice.lines = names.len() as u64;
    // What the chunk rejected by itself goes with its first slice.
    if slice.from.slice == 0 {
        slice.lines += chunk.rejected.total();
        slice.rejected = chunk.rejected;
        slice.rejects.clone_from(&chunk.rejects);
    }
    for (name, candidate) in names.iter().zip(found) {
        sort_out(facts, name, candidate, &mut slice);
    }
    Ok(sorted(slice))
}

/// One slice of a product's devices, in the order of names. Those that do not match the rule, if there is one,
/// need no task.
async fn product_slice(
    shell: &Shell,
    facts: &JobFacts,
    rule: Option<&GroupExpression>,
    cursor: Cursor,
) -> Result<Slice, CommandError> {
    let job = &facts.job;
    let after = cursor.after.as_deref().and_then(|after| DeviceName::parse(after).ok());
    let limit = if after.is_none() { FIRST_CHUNK_LINES } else { shell.deps.store.slicing().slice_names };
    let module = &facts.firmware.new.module;
    let devices = shell.deps.store.scan(job.product, job.upto, module, after.as_ref(), limit).await?;
    let to = Cursor {
        offset: cursor.offset + devices.len() as u64,
        slice: 0,
        after: devices.last().map(|(name, _)| name.as_str().to_owned()).or_else(|| cursor.after.clone()),
    };
    let mut slice = empty_slice(job.no, cursor, to, devices.len() < limit);
    slice.lines = devices.len() as u64;
    for (name, candidate) in devices {
        if rule.is_none_or(|rule| rule.takes(&job.new.product, &name)) {
            sort_out(facts, &name, Some(candidate), &mut slice);
        } else {
            slice.skipped.push(candidate.device);
        }
    }
    Ok(sorted(slice))
}

fn empty_slice(job: JobNo, from: Cursor, to: Cursor, complete: bool) -> Slice {
    Slice {
        job,
        from,
        to,
        complete,
        lines: 0,
        tasks: Vec::new(),
        skipped: Vec::new(),
        rejected: Rejections::default(),
        rejects: Vec::new(),
    }
}

/// Decides what one name comes to: a task, a skip or a rejection.
fn sort_out(facts: &JobFacts, name: &DeviceName, candidate: Option<Candidate>, slice: &mut Slice) {
    let Some(candidate) = candidate else {
        slice.rejected.unknown += 1;
        slice.rejects.push(RejectedLine { text: name.as_str().to_owned(), cause: RejectCause::Unknown });
        return;
    };
    if scope_of(facts).takes(candidate.version.as_ref()) {
        slice.tasks.push(NewTask { device: candidate.device, src_version: candidate.version });
    } else {
        slice.skipped.push(candidate.device);
    }
}

/// Which versions get a task.
fn scope_of(facts: &JobFacts) -> Scope<'_> {
    let new = &facts.firmware.new;
    Scope::new(&new.dest_version, facts.job.new.target.src_versions(), new.kind.src_version())
}

fn sorted(mut slice: Slice) -> Slice {
    slice.tasks.sort_unstable_by_key(|task| task.device);
    slice.skipped.sort_unstable();
    slice
}
