//! What a device does with a notice, step by step: think, download, check, report, restart.

use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;

use super::Temper;
use super::blocks::{Ask, Blocks};
use super::device::Site;
use super::download::{Failure, Mode};
use super::notice::{Notice, Source};
use super::recorder::count_up;

/// What a device says in the course of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    /// Progress: a percentage, or what went wrong as a negative step.
    Progress { step: i8, text: String },
    /// The version that runs now.
    Inform { version: String },
    /// The question for a block of the package.
    Ask(Ask),
}

/// An update on its way.
struct Update {
    site: Arc<Site>,
    device: usize,
    notice: Notice,
    /// The download over MQTT, if that is how the package comes.
    blocks: Option<Blocks>,
    temper: Temper,
    think: Duration,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Begin,
    Download,
    Finish,
    Restart,
    End,
}

/// Everything that the device says about `notice`, at the time when it says it. `blocks` is its download where
/// the package comes over MQTT.
pub(crate) fn update(
    site: Arc<Site>,
    device: usize,
    (notice, blocks): (Notice, Option<Blocks>),
    temper: Temper,
    think: Duration,
) -> impl Stream<Item = Say> + Send {
    let begin = Update { site, device, notice, blocks, temper, think, stage: Stage::Begin };
    unfold(begin, |mut update| async move {
        let said = update.step().await?;
        Some((said, update))
    })
}

impl Update {
    async fn step(&mut self) -> Option<Say> {
        let (said, next) = match self.stage {
            Stage::Begin => {
                if !self.think.is_zero() {
                    tokio::time::sleep(self.think).await;
                }
                match self.temper {
                    Temper::Good => (progress(10, ""), Stage::Download),
                    Temper::Stalling => (progress(10, ""), Stage::End),
                    Temper::Failing | Temper::Flaky => (progress(-1, "update failed"), Stage::End),
                    Temper::Silent => return None,
                }
            }
            Stage::Download => match self.download().await {
                Ok(Some(ask)) => (Say::Ask(ask), Stage::Download),
                Ok(None) => (progress(50, ""), Stage::Finish),
                Err(failure) => (self.complain(failure), Stage::End),
            },
            Stage::Finish => (progress(100, ""), Stage::Restart),
            Stage::Restart => {
                let version = self.notice.version.clone();
                self.site.recorder.updated(self.device, &version);
                (Say::Inform { version }, Stage::End)
            }
            Stage::End => return None,
        };
        self.stage = next;
        Some(said)
    }

    /// Downloads, up to the next question that the device has to ask for it; `None` when it has what it wants.
    async fn download(&mut self) -> Result<Option<Ask>, Failure> {
        let whole = match (&self.notice.source, &mut self.blocks) {
            (Source::Url(url), _) => self.site.downloads.fetch(&self.notice, url).await?,
            (Source::Stream(_), Some(blocks)) => {
                if let Some(ask) = blocks.next().await? {
                    return Ok(Some(ask));
                }
                self.site.downloads.mode() == Mode::Full
            }
            // Whoever makes an update of a stream gives it one.
            (Source::Stream(_), None) => false,
        };
        if whole {
            self.site.recorder.downloaded(self.device);
        }
        Ok(None)
    }

    fn complain(&self, failure: Failure) -> Say {
        let recorder = &self.site.recorder;
        count_up(&recorder.totals.download_failures);
        let (step, text) = match failure {
            Failure::Download(text) => (-2, text),
            Failure::Check(text) => (-3, text),
        };
        recorder.trouble(self.device, || format!("step {step}: {text}"));
        progress(step, &text)
    }
}

fn progress(step: i8, text: &str) -> Say {
    Say::Progress { step, text: text.to_owned() }
}
