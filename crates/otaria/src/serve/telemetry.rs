//! Logs on standard error, metrics for `/metrics`.

use std::io::IsTerminal;

use anyhow::Context;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use otaria_core::witness::{COUNTER, Invariant};
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Buckets of everything that is measured in seconds.
const SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Starts logging. `RUST_LOG` goes before the configured filter.
pub(crate) fn start_logs(config: &LogConfig) -> anyhow::Result<()> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(filter) if !filter.is_empty() => filter,
        // The scheduler tells of every step of its own start.
        _ => format!("tokio_cron_scheduler=warn,{}", config.filter),
    };
    let filter =
        EnvFilter::try_new(&filter).with_context(|| format!("`{filter}` is not a filter for logs"))?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match config.format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    started.map_err(anyhow::Error::from_boxed).context("starting logs")
}

/// Installs the recorder of all metrics. Must come before anything keeps the handle of a metric.
pub(crate) fn start_metrics() -> anyhow::Result<PrometheusHandle> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)
        .context("setting buckets")?;
    let handle = builder.install_recorder().context("starting metrics")?;
    metrics::gauge!("otaria_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    // There from the start, so that an alert on them has something to watch, and another that they are there.
    metrics::describe_counter!(COUNTER, "Broken promises, by the number of the invariant; must stay 0");
    for invariant in Invariant::ALL {
        metrics::counter!(COUNTER, "invariant" => invariant.as_str()).absolute(0);
    }
    let kept = handle.clone();
    tokio::spawn(async move {
        // Without upkeep, histograms keep every sample until somebody asks.
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(5));
        loop {
            tick.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(handle)
}
