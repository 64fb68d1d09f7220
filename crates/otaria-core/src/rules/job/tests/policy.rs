//! When a job runs, and how it treats its devices.

use super::*;

#[test]
fn schedule_times() {
    taken(
        &all(),
        parse,
        &[
            |p| p.schedule_time = Some(NOW + 5 * MINUTES),
            |p| p.schedule_time = Some(NOW + 7 * DAYS),
            |p| p.schedule_finish_time = Some(NOW + HOURS),
            |p| p.schedule_finish_time = Some(NOW + 30 * DAYS),
            |p| {
                p.schedule_time = Some(NOW + 7 * DAYS);
                p.schedule_finish_time = Some(NOW + 37 * DAYS);
            },
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.schedule_time = Some(NOW + 5 * MINUTES - 1), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(NOW + 7 * DAYS + 1), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(NOW / 1_000), "ScheduleTime", Code::InvalidScheduleTime),
            (|p| p.schedule_time = Some(i64::MAX), "ScheduleTime", Code::InvalidScheduleTime),
            (
                |p| p.schedule_finish_time = Some(NOW + HOURS - 1),
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (
                |p| p.schedule_finish_time = Some(NOW + 30 * DAYS + 1),
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (
                |p| {
                    p.schedule_time = Some(NOW + 2 * HOURS);
                    p.schedule_finish_time = Some(NOW + 3 * HOURS - 1);
                },
                "ScheduleFinishTime",
                Code::InvalidScheduleFinishTime,
            ),
            (|p| p.schedule_finish_time = Some(-1), "ScheduleFinishTime", Code::InvalidScheduleFinishTime),
        ],
    );
}

#[test]
fn retries_and_timeouts() {
    taken(
        &all(),
        parse,
        &[
            |p| (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(1)),
            |p| (p.job.retry_interval, p.job.retry_count) = (Some(1_440), Some(5)),
            |p| {
                (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(1));
                p.job.timeout_in_minutes = Some(1);
            },
            |p| p.job.timeout_in_minutes = Some(1_440),
            |p| p.job.offer_timeout_in_minutes = Some(1),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.retry_interval = Some(10), "RetryCount", Code::MissingParameter),
            (|p| p.job.retry_count = Some(1), "RetryInterval", Code::MissingParameter),
            (
                |p| (p.job.retry_interval, p.job.retry_count) = (Some(5), Some(1)),
                "RetryInterval",
                Code::InvalidRetry,
            ),
            (
                |p| (p.job.retry_interval, p.job.retry_count) = (Some(0), Some(3)),
                "RetryCount",
                Code::InvalidRetry,
            ),
            (
                |p| {
                    (p.job.retry_interval, p.job.retry_count) = (Some(10), Some(1));
                    p.job.timeout_in_minutes = Some(10);
                },
                "RetryInterval",
                Code::InvalidRetry,
            ),
            (|p| p.job.timeout_in_minutes = Some(0), "TimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.timeout_in_minutes = Some(1_441), "TimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.offer_timeout_in_minutes = Some(0), "OfferTimeoutInMinutes", Code::InvalidTimeout),
            (|p| p.job.offer_timeout_in_minutes = Some(1_441), "OfferTimeoutInMinutes", Code::InvalidTimeout),
        ],
    );
    let mut params = all();
    (params.job.retry_interval, params.job.retry_count) = (Some(30), Some(2));
    let retry = parse(&params).unwrap().policy.retry.unwrap();
    assert_eq!((retry.interval, retry.count), (30 * MINUTE, 2));
}

#[test]
fn rates() {
    taken(
        &all(),
        parse,
        &[|p| p.job.maximum_per_minute = Some(10), |p| p.job.maximum_per_minute = Some(10_000)],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.maximum_per_minute = Some(9), "MaximumPerMinute", Code::InvalidMaximumPerMinute),
            (|p| p.job.maximum_per_minute = Some(10_001), "MaximumPerMinute", Code::InvalidMaximumPerMinute),
            (
                |p| p.job.maximum_per_minute = Some(i64::MIN),
                "MaximumPerMinute",
                Code::InvalidMaximumPerMinute,
            ),
        ],
    );
}

#[test]
fn an_operator_moves_the_ceiling_of_rates() {
    let under = |ceiling, wanted| {
        let limits = Limits { maximum_per_minute_ceiling: ceiling, ..Limits::default() };
        let mut params = all();
        params.job.maximum_per_minute = wanted;
        let job = params.parse(Timestamp::from_millis(NOW), &limits);
        job.map(|job| job.policy.maximum_per_minute.get())
    };
    assert_eq!(under(None, Some(100_000_000)), Ok(100_000_000));
    assert!(under(None, Some(1 << 40)).is_err());
    assert_eq!(under(Some(500), None), Ok(500));
    assert!(under(Some(500), Some(501)).unwrap_err().rule.contains("10 to 500"));
    assert_eq!(under(None, None), Ok(10_000));
    assert_eq!(under(Some(1), None), Ok(10));
}

#[test]
fn modes() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.overwrite_mode = Some(2),
            |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(1), Some(true)),
            |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(2), Some(false)),
            |p| p.job.download_protocol = text("MQTT"),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.overwrite_mode = Some(0), "OverwriteMode", Code::InvalidParameter),
            (
                |p| (p.job.overwrite_mode, p.job.multi_module_mode) = (Some(2), Some(true)),
                "OverwriteMode",
                Code::InvalidParameter,
            ),
            (|p| p.job.download_protocol = text("FTP"), "DownloadProtocol", Code::InvalidParameter),
        ],
    );
}

#[test]
fn tags() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.tag = (0..10).map(|n| tag(&format!("k.{n}"), "v")).collect(),
            |p| p.job.tag = vec![tag(&"k".repeat(30), &"ü".repeat(1_024))],
            |p| p.job.tag = (0..4).map(|n| tag(&format!("k{n}"), &"v".repeat(1_022))).collect(),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.tag = (0..11).map(|n| tag(&format!("k{n}"), "v")).collect(), "Tag", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", "1"), tag("b_c", "2")], "Tag.2.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag(&"k".repeat(31), "1")], "Tag.1.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", "1"), tag("a", "2")], "Tag.2.Key", Code::InvalidTags),
            (|p| p.job.tag = vec![tag("a", &"v".repeat(1_025))], "Tag.1.Value", Code::InvalidTags),
            (
                |p| p.job.tag = vec![TagParams { key: text("a"), value: None }],
                "Tag.1.Value",
                Code::MissingParameter,
            ),
            (
                |p| p.job.tag = vec![TagParams { key: None, value: text("v") }],
                "Tag.1.Key",
                Code::MissingParameter,
            ),
            (
                |p| p.job.tag = (0..4).map(|n| tag(&format!("k{n}"), &"v".repeat(1_023))).collect(),
                "Tag",
                Code::InvalidTags,
            ),
        ],
    );
}

#[test]
fn our_own_parameters() {
    taken(
        &all(),
        parse,
        &[
            |p| p.job.job_desc = Some("ü".repeat(100)),
            |p| p.job.client_token = text("3f1a-77"),
            |p| p.job.client_token = text(""),
        ],
    );
    refused(
        &all(),
        parse,
        &[
            (|p| p.job.job_desc = Some("x".repeat(101)), "JobDesc", Code::InvalidParameter),
            (|p| p.job.client_token = Some("x".repeat(65)), "ClientToken", Code::InvalidParameter),
            (|p| p.job.client_token = text("a b"), "ClientToken", Code::InvalidParameter),
        ],
    );
}
