use super::*;

/// Rows and callers elsewhere rely on each of these pairs: a changed one needs a migration.
#[test]
fn kinds_modes_and_protocols_keep_their_names_and_numbers() {
    for (kind, code) in [(JobKind::Verify, 0), (JobKind::Static, 1), (JobKind::Dynamic, 2)] {
        assert_eq!((kind.code(), JobKind::from_code(code)), (code, Some(kind)));
    }
    for (mode, code) in [(DynamicMode::NowAndLater, 1), (DynamicMode::LaterOnly, 2)] {
        assert_eq!((mode.code(), DynamicMode::from_code(code)), (code, Some(mode)));
    }
    for (mode, code) in [(OverwriteMode::Keep, 1), (OverwriteMode::Replace, 2)] {
        assert_eq!((mode.code(), OverwriteMode::from_code(code)), (code, Some(mode)));
    }
    for (protocol, name) in [(DownloadProtocol::Https, "HTTPS"), (DownloadProtocol::Mqtt, "MQTT")] {
        assert_eq!((protocol.as_str(), DownloadProtocol::parse(name)), (name, Some(protocol)));
    }
    assert_eq!([-1, 3].map(JobKind::from_code), [None; 2]);
    assert_eq!([0, 3].map(DynamicMode::from_code), [None; 2]);
    assert_eq!([0, 3].map(OverwriteMode::from_code), [None; 2]);
    assert_eq!(DownloadProtocol::parse("https"), None);
}

#[test]
fn a_part_is_of_those_that_match_and_everything_else_is_all_of_them() {
    let percent = GrayPercent::parse("25").unwrap();
    let gray = Target::Gray { percent, src_versions: Vec::new() };
    assert_eq!(gray.part_of(10), 2);
    for whole in [
        Target::All { src_versions: Vec::new() },
        Target::Names(Vec::new()),
        Target::ListFile { file_url: String::new() },
        Target::Group { group_id: String::new() },
    ] {
        assert_eq!(whole.part_of(10), 10, "{whole:?}");
    }
}

/// An update that names nothing is answered without a write: a forgotten field here would be lost in silence.
#[test]
fn an_update_is_empty_only_when_nothing_is_named() {
    let nothing = JobUpdate::default;
    assert!(nothing().is_empty());
    for one in [
        JobUpdate { maximum_per_minute: Some(PerMinute::DEFAULT), ..nothing() },
        JobUpdate { timeout: Some(Duration::ZERO), ..nothing() },
        JobUpdate { tags: Some(Vec::new()), ..nothing() },
        JobUpdate { src_versions: Some(Vec::new()), ..nothing() },
    ] {
        assert!(!one.is_empty(), "{one:?}");
    }
}

/// Each flag alone makes a cancellation; `CancelUnconfirmedTask=false` alone makes none.
#[test]
fn a_cancellation_names_at_least_one_thing() {
    let none = CancelFlags::default();
    assert!(!none.is_any());
    assert!(!CancelFlags { unconfirmed: Some(false), ..none }.is_any());
    for one in [
        CancelFlags { scheduled: true, ..none },
        CancelFlags { queued: true, ..none },
        CancelFlags { notified: true, ..none },
        CancelFlags { in_progress: true, ..none },
        CancelFlags { unconfirmed: Some(true), ..none },
    ] {
        assert!(one.is_any(), "{one:?}");
    }
}

#[test]
fn queued_takes_unconfirmed_along_unless_told_otherwise() {
    let queued = CancelFlags { queued: true, ..CancelFlags::default() };
    assert!(queued.covers(TaskStatus::Confirm));
    assert!(!CancelFlags { unconfirmed: Some(false), ..queued }.covers(TaskStatus::Confirm));
    assert!(!queued.covers(TaskStatus::Notified));
    assert_eq!(CancelFlags::EVERYTHING.mask(), 0b1111);
}

#[test]
fn a_schedule_is_half_open() {
    let at = Timestamp::from_millis;
    let schedule = Schedule { start: Some(at(10)), finish: Some(at(20)) };
    assert_eq!([9, 10, 19, 20].map(|ms| schedule.is_open(at(ms))), [false, true, true, false]);
}
