//! How commands show things: lines, tables, and messages of the API as JSON.

use std::io::{self, Write};
use std::sync::LazyLock;

use anyhow::Context;
use indicatif::{HumanFloatCount, ProgressBar, ProgressState, ProgressStyle};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Timestamp;

/// Prints a line. An error where nobody reads any more.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Whether an error says that nobody reads our output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error.downcast_ref::<io::Error>().is_some_and(broken)
}

/// Prints a message of the API, named without its package, as a line of JSON with the names of the API.
pub(super) fn json_line(name: &str, message: &impl prost::Message) -> anyhow::Result<()> {
    line(&json(name, message)?)
}

fn json(name: &str, message: &impl prost::Message) -> anyhow::Result<String> {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(otaria_proto::FILE_DESCRIPTOR_SET).ok());
    let descriptor = POOL.as_ref().and_then(|pool| pool.get_message_by_name(&format!("otaria.v1.{name}")));
    let descriptor = descriptor.with_context(|| format!("the API has no message {name}"))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;

    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let mut bytes = Vec::new();
    message.serialize_with_options(&mut serde_json::Serializer::new(&mut bytes), &options)?;
    Ok(String::from_utf8(bytes)?)
}

/// A table whose columns are as wide as what they hold. Long lists print page by page.
pub(super) struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(titles: &[&str]) -> Self {
        let titles: Vec<String> = titles.iter().map(|title| (*title).to_owned()).collect();
        Self { widths: vec![0; titles.len()], rows: vec![titles] }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Prints the rows since the last call.
    pub(super) fn print(&mut self) -> anyhow::Result<()> {
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in self.rows.drain(..) {
            let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}"));
            line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Prints names and values below each other; values that are empty are left out.
pub(super) fn facts(facts: &[(&str, String)]) -> anyhow::Result<()> {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        line(&format!("{name:<width$}  {value}"))?;
    }
    Ok(())
}

/// A value of an enumeration as a word: `TASK_STATUS_IN_PROGRESS` without `TASK_STATUS_` is `in-progress`.
pub(super) fn word(name: &str, prefix: &str) -> String {
    match name.strip_prefix(prefix).unwrap_or(name) {
        "UNSPECIFIED" => String::new(),
        value => value.to_ascii_lowercase().replace('_', "-"),
    }
}

/// An instant in UTC, to the second.
pub(super) fn instant(at: Option<&Timestamp>) -> String {
    let at = at.and_then(|at| jiff::Timestamp::from_second(at.seconds).ok());
    at.map(|at| at.to_string()).unwrap_or_default()
}

const COUNT_BAR: &str = "{msg:14} {wide_bar} {human_pos}/{human_len} {rate} {eta}";
const BYTE_BAR: &str = "{msg:14} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}";

/// A bar over `total` things; it shows on a terminal only.
pub(crate) fn bar(total: u64, doing: &'static str) -> ProgressBar {
    with_template(ProgressBar::new(total), COUNT_BAR).with_message(doing)
}

/// A bar over `total` bytes.
pub(super) fn byte_bar(total: u64, doing: &'static str) -> ProgressBar {
    with_template(ProgressBar::new(total), BYTE_BAR).with_message(doing)
}

/// Gives `bar` a look; a template that is wrong leaves the look that it has.
pub(crate) fn with_template(bar: ProgressBar, template: &str) -> ProgressBar {
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style.progress_chars("━╸ ").with_key("rate", rate)),
        Err(_) => bar,
    }
}

/// Things a second, in whole numbers.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    // What cannot be shown is left out.
    let _ = write!(out, "{}/s", HumanFloatCount(state.per_sec().round()));
}

#[cfg(test)]
mod tests {
    use otaria_proto::v1::{QueryOtaJobResponse, TaskCounts, TaskStatus};

    use super::*;

    #[test]
    fn a_message_as_json_has_the_names_of_the_api() {
        let job = QueryOtaJobResponse {
            job_id: "j1".to_owned(),
            job_status: 3,
            task_counts: Some(TaskCounts { succeeded: 7, ..TaskCounts::default() }),
            utc_create: Some(Timestamp { seconds: 1, nanos: 0 }),
            ..QueryOtaJobResponse::default()
        };
        let value: serde_json::Value =
            serde_json::from_str(&json("QueryOTAJobResponse", &job).unwrap()).unwrap();
        assert_eq!(value["job_id"], "j1");
        assert_eq!(value["job_status"], "JOB_STATUS_COMPLETED");
        assert_eq!(value["task_counts"]["succeeded"], 7);
        assert_eq!(value["task_counts"]["failed"], 0);
        assert_eq!(value["utc_create"], "1970-01-01T00:00:01Z");
        assert!(value.get("retry_count").is_none(), "{value}");
        assert!(json("NoSuchMessage", &job).is_err());
    }

    #[test]
    fn values_of_enumerations_are_words() {
        assert_eq!(word(TaskStatus::InProgress.as_str_name(), "TASK_STATUS_"), "in-progress");
        assert_eq!(word(TaskStatus::Unspecified.as_str_name(), "TASK_STATUS_"), "");
    }

    #[test]
    fn bars_have_sound_templates() {
        for template in [COUNT_BAR, BYTE_BAR] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
        assert_eq!(instant(Some(&Timestamp { seconds: 0, nanos: 9 })), "1970-01-01T00:00:00Z");
    }
}
