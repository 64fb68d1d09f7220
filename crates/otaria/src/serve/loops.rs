//! The loops that wait: each calls its engine's `tick` and sleeps until the wake it was told.

use std::sync::Arc;
use std::time::Duration;

use otaria_core::time::Timestamp;
use otaria_engine::closer::Closer;
use otaria_engine::dispatcher::Dispatcher;
use otaria_engine::error::CommandError;
use otaria_engine::expander::Expander;
use otaria_engine::listener::Listener;
use otaria_engine::ownership::{Owner, Ownership};
use otaria_engine::{Shell, Wake, overdue};
use otaria_ports::bell::Bell;
use otaria_ports::clock::Clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A loop without news looks by itself this often.
const IDLE: Duration = Duration::from_secs(1);
/// A dispatcher that cannot reach what processes share for so long gives its shards up.
const CUT_OFF: Duration = Duration::from_secs(2);
/// After a failure; doubled up to the longest.
const REST: Duration = Duration::from_millis(100);
const REST_MAX: Duration = Duration::from_secs(5);

/// What every loop works with.
#[derive(Clone)]
pub(crate) struct Loops {
    /// What the process shares.
    pub(crate) shell: Arc<Shell>,
    /// The clock.
    pub(crate) clock: Arc<dyn Clock>,
    /// Turns `true` when the server stops.
    pub(crate) stop: watch::Receiver<bool>,
    /// Rings when the dispatcher has news.
    pub(crate) news: Arc<Bell>,
    /// Whether what processes share is within reach.
    pub(crate) linked: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Loops {
    /// Spawns all loops; returns what is owned, at any time.
    pub(crate) fn spawn(self, owner: Owner, tasks: &mut JoinSet<()>) -> watch::Receiver<Arc<Ownership>> {
        let (owned, owning) = watch::channel(Arc::new(owner.owned().clone()));
        tasks.spawn(self.clone().own(owner, owned));
        tasks.spawn(self.clone().dispatch(owning.clone()));
        tasks.spawn(self.clone().let_clocks_run_out(owning.clone()));
        tasks.spawn(self.clone().expand(owning.clone()));
        tasks.spawn(self.close(owning.clone()));
        owning
    }

    /// For a process without a dispatcher: it hears what changes, and tells those who carry jobs.
    pub(crate) fn spawn_listener(self, tasks: &mut JoinSet<()>) {
        tasks.spawn(self.listen());
    }

    async fn listen(mut self) {
        let mut listener = Listener::new(Arc::clone(&self.shell), self.clock.now());
        let bell = Arc::clone(&self.news);
        let mut pause = Pause::default();
        loop {
            let wake = listener.tick(self.clock.now());
            if !self.wait("listener", Ok(wake), &bell, &mut pause).await {
                return;
            }
        }
    }

    async fn own(mut self, mut owner: Owner, owned: watch::Sender<Arc<Ownership>>) {
        let bell = Bell::default();
        let mut pause = Pause::default();
        let mut cut_off: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            let since = *cut_off.get_or_insert(now);
            let ticked = if (self.linked)() {
                cut_off = None;
                owner.tick(now).await
            } else if now.since(since) < CUT_OFF {
                owner.tick(now).await
            } else {
                // It can push nothing; others may. Once it is back it joins anew.
                owner.leave().await.map(|()| Wake::At(now + Duration::from_millis(500)))
            };
            owned.send_replace(Arc::new(owner.owned().clone()));
            if !self.wait("owner", ticked, &bell, &mut pause).await {
                break;
            }
        }
        if let Err(error) = owner.leave().await {
            tracing::warn!(%error, "leases are left to run out");
        }
    }

    async fn dispatch(mut self, owning: watch::Receiver<Arc<Ownership>>) {
        let mut dispatcher = Dispatcher::new(Arc::clone(&self.shell), self.clock.now());
        let bell = Arc::clone(&self.news);
        let mut pause = Pause::default();
        loop {
            let owned = Arc::clone(&owning.borrow());
            let ticked = dispatcher.tick(self.clock.now(), &owned).await;
            if !self.wait("dispatcher", ticked, &bell, &mut pause).await {
                return;
            }
        }
    }

    async fn let_clocks_run_out(mut self, owning: watch::Receiver<Arc<Ownership>>) {
        let bell = Bell::default();
        let mut pause = Pause::default();
        loop {
            let owned = Arc::clone(&owning.borrow());
            let ticked = overdue::tick(&self.shell, self.clock.now(), &owned).await;
            if !self.wait("overdue", ticked, &bell, &mut pause).await {
                return;
            }
        }
    }

    async fn expand(mut self, owning: watch::Receiver<Arc<Ownership>>) {
        let mut expander = Expander::new(Arc::clone(&self.shell));
        let bell = Arc::clone(self.shell.expand_hints.bell());
        let mut pause = Pause::default();
        loop {
            let owned = Arc::clone(&owning.borrow());
            let ticked = expander.tick(self.clock.now(), &owned).await;
            if !self.wait("expander", ticked, &bell, &mut pause).await {
                return;
            }
        }
    }

    async fn close(mut self, owning: watch::Receiver<Arc<Ownership>>) {
        let mut closer = Closer::new(Arc::clone(&self.shell));
        let bell = Arc::clone(self.shell.close_hints.bell());
        let mut pause = Pause::default();
        loop {
            let owned = Arc::clone(&owning.borrow());
            let ticked = closer.tick(self.clock.now(), &owned).await;
            if !self.wait("closer", ticked, &bell, &mut pause).await {
                return;
            }
        }
    }

    /// Waits as told, or rests after a failure; `false` when the server stops.
    async fn wait(
        &mut self,
        name: &'static str,
        ticked: Result<Wake, CommandError>,
        bell: &Bell,
        pause: &mut Pause,
    ) -> bool {
        let span = match ticked {
            Ok(wake) => {
                pause.0 = None;
                until(wake, self.clock.now())
            }
            Err(error) => {
                let rest = pause.next();
                metrics::counter!("otaria_loop_failures_total", "loop" => name).increment(1);
                {
                    // With everything that lies below it; gone before the wait.
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        r#loop = name,
                        error,
                        rest_ms = rest.as_millis(),
                        "tick failed; it is repeated"
                    );
                }
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    _ = self.stop.wait_for(|stop| *stop) => {}
                }
                Duration::ZERO
            }
        };
        if *self.stop.borrow() {
            return false;
        }
        if span.is_zero() {
            // Others on this thread get their turn between two ticks.
            tokio::task::yield_now().await;
            return true;
        }
        tokio::select! {
            () = tokio::time::sleep(span) => true,
            () = bell.heard() => true,
            _ = self.stop.wait_for(|stop| *stop) => false,
        }
    }
}

fn until(wake: Wake, now: Timestamp) -> Duration {
    match wake {
        Wake::Now => Duration::ZERO,
        Wake::At(at) => at.since(now).min(IDLE),
        Wake::OnSignal => IDLE,
    }
}

/// The rest after failures in a row.
#[derive(Default)]
struct Pause(Option<Duration>);

impl Pause {
    fn next(&mut self) -> Duration {
        let rest = self.0.map_or(REST, |last| (last * 2).min(REST_MAX));
        self.0 = Some(rest);
        rest
    }
}
