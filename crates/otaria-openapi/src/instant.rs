//! Instants as this wire writes them.

use otaria_core::time::Timestamp;

/// `Utc…` members: `2019-11-04T06:22:19.566Z`, always with three decimals.
pub(crate) fn utc(at: Timestamp) -> String {
    written(at, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// `Gmt…` members that are text.
pub(crate) fn gmt(at: Timestamp) -> String {
    written(at, "%Y-%m-%d %H:%M:%S")
}

/// An instant beyond the year 9999 reads as the epoch: no clock says so.
fn written(at: Timestamp, form: &str) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().strftime(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_always_three_decimals() {
        assert_eq!(utc(Timestamp::from_millis(1_572_848_539_566)), "2019-11-04T06:22:19.566Z");
        assert_eq!(utc(Timestamp::from_millis(1_572_848_539_000)), "2019-11-04T06:22:19.000Z");
        assert_eq!(utc(Timestamp::from_millis(1_572_848_539_060)), "2019-11-04T06:22:19.060Z");
        assert_eq!(gmt(Timestamp::EPOCH), "1970-01-01 00:00:00");
    }
}
