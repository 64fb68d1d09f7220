//! Which filters a platform client may subscribe to, and what they match.

use otaria_core::ids::ProductKey;

/// Where all events stand.
pub(crate) const PREFIX: &str = "otaria/v1/events/";
/// Longest filter in bytes; the longest topic has about 160.
const FILTER_MAX: usize = 256;

/// A filter within one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventFilter {
    pub(crate) product: ProductKey,
    text: String,
}

impl EventFilter {
    /// Takes a filter that names its product literally; whose product it is must be asked then.
    pub(crate) fn parse(filter: &str) -> Option<Self> {
        if filter.len() > FILTER_MAX || !filter.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (product, rest) = filter.strip_prefix(PREFIX)?.split_once('/')?;
        let product = ProductKey::parse(product).ok()?;
        (!rest.is_empty()).then(|| Self { product, text: filter.to_owned() })
    }

    /// The filter as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches a topic.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        let (mut filter, mut topic) = (self.text.split('/'), topic.split('/'));
        loop {
            match (filter.next(), topic.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(_)) => {}
                (Some(wanted), Some(level)) if wanted == level => {}
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_outside_of_one_product_is_refused() {
        for filter in [
            "#",
            "+",
            "otaria/#",
            "otaria/v1/events/#",
            "otaria/v1/events/+/#",
            "otaria/v1/events/+/job/1",
            "otaria/v1/events/a1",
            "otaria/v1/events/a1/",
            "otaria/v1/+/a1/#",
            "otaria/v1/events/ä/#",
            "otaria/v1/events/a1#/x",
            "$SYS/#",
            "$share/g/otaria/v1/events/a1/#",
            "/otaria/v1/events/a1/#",
            "/ota/device/upgrade/a1/dev_0001",
        ] {
            assert_eq!(EventFilter::parse(filter), None, "{filter}");
        }
    }

    #[test]
    fn filters_match_as_in_mqtt() {
        let task = "otaria/v1/events/a1/job/j1/task/dev_0001";
        let job = "otaria/v1/events/a1/job/j1";
        for (filter, matches_task, matches_job) in [
            ("otaria/v1/events/a1/#", true, true),
            ("otaria/v1/events/a1/job/j1/#", true, true),
            ("otaria/v1/events/a1/job/j1", false, true),
            ("otaria/v1/events/a1/job/+", false, true),
            ("otaria/v1/events/a1/job/+/task/+", true, false),
            ("otaria/v1/events/a1/job/j2/#", false, false),
            ("otaria/v1/events/a1/+/+/task/dev_0001", true, false),
        ] {
            let parsed = EventFilter::parse(filter).unwrap();
            assert_eq!((parsed.matches(task), parsed.matches(job)), (matches_task, matches_job), "{filter}");
        }
    }
}
