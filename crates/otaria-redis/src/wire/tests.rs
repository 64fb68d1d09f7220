use super::*;

#[test]
fn another_version_and_noise_are_dropped() {
    let mut packed = pack(&Mail::Fence { job: 1, fence: 2 });
    assert!(matches!(unpack(&packed), Some(Mail::Fence { job: 1, fence: 2 })));
    packed[0] = VERSION + 1;
    assert!(unpack::<Mail>(&packed).is_none());
    assert!(unpack::<Mail>(&[]).is_none());
    assert!(unpack::<Mail>(&[VERSION, 250, 1, 2]).is_none());
}

#[test]
fn the_first_version_never_changes() {
    let mail = Mail::Close { device: -1, ask: 300, from: "ab".into() };
    assert_eq!(pack(&mail), [1, 3, 1, 172, 2, 2, b'a', b'b']);
    let signals = Signals { from: "a".into(), signals: vec![WireSignal::JobOpened(2), WireSignal::Missed] };
    assert_eq!(pack(&signals), [1, 1, b'a', 2, 2, 4, 4]);
}

#[test]
fn a_thousand_notices_of_one_offer_stay_small() {
    let offer = Arc::new(Offer {
        version: Version::parse("1").unwrap(),
        module: ModuleName::default_module(),
        files: Vec::new(),
        stream_id: None,
        sign_method: SignMethod::Md5,
        is_diff: false,
        udi: Some("x".repeat(4_096)),
        tags: Vec::new(),
    });
    let schedule = Schedule { start: None, finish: Some(Timestamp::from_millis(1_790_000_100_000)) };
    let terms = Terms { rate: PerMinute::DEFAULT, schedule };
    let notice = |n| Notice {
        key: TaskKey { device: DeviceId(7_i64 << 48 | n), job: JobNo(1), seq: 1 },
        attempt: 1,
        wire_id: 1_790_000_000_000,
        session: 1_790_000_000_000_000,
        shard: (otaria_core::shard::Shard(7), 1),
        fence: 0,
        not_before: Timestamp::from_millis(1_790_000_000_000),
        not_after: Timestamp::from_millis(1_790_000_000_300),
        terms: Some(terms),
        offer: Arc::clone(&offer),
    };
    let notices: Vec<Notice> = (0..1_000).map(notice).collect();
    let packed = pack(&Mail::of_notices(&notices));
    assert!(packed.len() < 45_000, "{}", packed.len());
    let read = |packed: &[u8]| {
        let Some(Mail::Notices { offers, notices, terms }) = unpack(packed) else { panic!("not read") };
        read_notices(offers, notices, &terms)
    };
    assert_eq!(format!("{:?}", read(&packed)), format!("{notices:?}"));

    // An older release ends its message before the terms: their count, one that is there, and what it holds.
    let rate_and_times = 2 + 1 + 1 + 6;
    let older = read(&packed[..packed.len() - (1 + 1 + rate_and_times)]);
    assert_eq!(older.len(), notices.len());
    assert!(older.iter().all(|notice| notice.terms.is_none()));
}
