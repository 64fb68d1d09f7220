use proptest::prelude::*;

use super::*;

const OWN: Own<'static> = Own { product_key: "a1Le6d0abcd", device_name: "dev_0001" };

#[test]
fn own_topics_have_their_meaning() {
    for (topic, meaning) in [
        ("/ota/device/inform/a1Le6d0abcd/dev_0001", Uplink::Inform),
        ("/ota/device/progress/a1Le6d0abcd/dev_0001", Uplink::Progress),
        ("/ota/device/request/a1Le6d0abcd/dev_0001", Uplink::LegacyRequest),
        ("/sys/a1Le6d0abcd/dev_0001/thing/ota/firmware/get", Uplink::FirmwareGet),
        ("/sys/a1Le6d0abcd/dev_0001/thing/file/download", Uplink::FileDownload),
        ("/sys/a1Le6d0abcd/dev_0001/thing/event/property/post", Uplink::Other),
        ("/a1Le6d0abcd/dev_0001/user/update", Uplink::Other),
        ("/ota/device/upgrade/a1Le6d0abcd/dev_0001", Uplink::Other),
        ("/shadow/update/a1Le6d0abcd/dev_0001", Uplink::Other),
        ("/ext/ntp/a1Le6d0abcd/dev_0001/request", Uplink::Other),
    ] {
        assert_eq!(OWN.publishes(topic), Ok(meaning), "{topic}");
    }
}

#[test]
fn a_publish_on_anything_else_is_refused() {
    let own = "/sys/a1Le6d0abcd/dev_0001/";
    let longest = format!("{own}{}", "x".repeat(TOPIC_MAX - own.len()));
    assert_eq!(OWN.publishes(&longest), Ok(Uplink::Other), "up to the last byte");
    let long = format!("{longest}x");
    for (topic, why) in [
        ("/ota/device/inform/a1Le6d0abcd/dev_0002", BadTopic::Foreign),
        ("/ota/device/inform/other/dev_0001", BadTopic::Foreign),
        ("/ota/device/inform/a1Le6d0abcd/dev_00012", BadTopic::Foreign),
        ("ota/device/inform/a1Le6d0abcd/dev_0001", BadTopic::Foreign),
        ("/sys/other/dev_0002/a1Le6d0abcd/dev_0001", BadTopic::Foreign),
        ("/sys/a1Le6d0abcd/dev_0001/#", BadTopic::Foreign),
        ("$SYS/broker", BadTopic::Foreign),
        ("", BadTopic::Foreign),
        ("/", BadTopic::Foreign),
        ("ü/sys/a1Le6d0abcd/dev_0001", BadTopic::NotAscii),
        ("/sys/a1Le6d0abcd/dev_0001/ \u{7f}", BadTopic::NotAscii),
        (&long, BadTopic::TooLong),
    ] {
        assert_eq!(OWN.publishes(topic), Err(why), "{topic}");
    }
}

#[test]
fn filters_below_the_own_prefix_are_granted() {
    let reply: Downlinks = Downlink::GetReply.into();
    for (filter, granted) in [
        ("/ota/device/upgrade/a1Le6d0abcd/dev_0001", Downlink::Upgrade.into()),
        ("/ota/device/upgrade/a1Le6d0abcd/dev_0001/#", Downlink::Upgrade.into()),
        ("/ota/device/upgrade/a1Le6d0abcd/dev_0001/+", Downlinks::NONE),
        ("/ota/device/request/a1Le6d0abcd/dev_0001", Downlink::LegacyRequest.into()),
        ("/sys/a1Le6d0abcd/dev_0001/thing/ota/firmware/get_reply", reply),
        ("/sys/a1Le6d0abcd/dev_0001/thing/+/+/get_reply", reply),
        ("/sys/a1Le6d0abcd/dev_0001/#", reply | Downlink::DownloadReply.into()),
        ("/sys/a1Le6d0abcd/dev_0001/thing/file/+", Downlink::DownloadReply.into()),
        ("/sys/a1Le6d0abcd/dev_0001/thing/service/property/set", Downlinks::NONE),
        ("/a1Le6d0abcd/dev_0001/user/get", Downlinks::NONE),
    ] {
        assert_eq!(OWN.subscribes(filter), Ok(granted), "{filter}");
    }
}

#[test]
fn filters_that_reach_further_are_refused() {
    for filter in [
        "#",
        "+",
        "+/#",
        "/#",
        "/+/+/+/+/+",
        "$SYS/#",
        "$share/g/ota/device/upgrade/a1Le6d0abcd/dev_0001",
        "$share/g//ota/device/upgrade/a1Le6d0abcd/dev_0001",
        "/ota/#",
        "/ota/device/#",
        "/ota/device/+/a1Le6d0abcd/dev_0001",
        "/ota/+/upgrade/a1Le6d0abcd/dev_0001",
        "/ota/device/upgrade/#",
        "/ota/device/upgrade/+/dev_0001",
        "/ota/device/upgrade/a1Le6d0abcd/+",
        "/ota/device/upgrade/a1Le6d0abcd/#",
        "/ota/device/upgrade/a1Le6d0abcd/dev_0002",
        "/sys/#",
        "/sys/+/dev_0001/#",
        "/sys/a1Le6d0abcd/+/thing/ota/firmware/get_reply",
        "/a1Le6d0abcd/#",
        "/+/dev_0001/user/get",
        "otaria/v1/events/#",
    ] {
        assert_eq!(OWN.subscribes(filter), Err(BadTopic::Foreign), "{filter}");
    }
    assert_eq!(OWN.subscribes("ü/#"), Err(BadTopic::NotAscii));
}

#[test]
fn a_downlink_topic_is_matched_by_itself_alone() {
    for downlink in Downlink::ALL {
        assert_eq!(OWN.subscribes(&downlink.topic(OWN)), Ok(downlink.into()));
    }
    assert_eq!(Downlink::Upgrade.topic(OWN), "/ota/device/upgrade/a1Le6d0abcd/dev_0001");
    assert!(!Downlinks::AUTOMATIC.contains(Downlink::LegacyRequest));
}

/// Two filters of one session may cover the same topic: it stays granted.
#[test]
fn joined_sets_hold_what_either_holds() {
    let (reply, legacy) = (Downlinks::from(Downlink::GetReply), Downlinks::from(Downlink::LegacyRequest));
    let mut both = reply | legacy;
    both |= reply;
    for joined in [both, both | legacy] {
        assert!(joined.contains(Downlink::GetReply) && joined.contains(Downlink::LegacyRequest));
        assert!(!joined.contains(Downlink::Upgrade));
    }
    both |= Downlink::Upgrade.into();
    assert!(both.contains(Downlink::Upgrade));
}

/// The plain rule of MQTT, to compare with.
fn mqtt_matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(f), Some(t)) if f == t => {}
            _ => return false,
        }
    }
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![
        Just("+"),
        Just("#"),
        Just("ota"),
        Just("device"),
        Just("upgrade"),
        Just("sys"),
        Just("thing"),
        Just("a1Le6d0abcd"),
        Just("dev_0001"),
        Just("dev_0002"),
        Just("other"),
        Just(""),
        Just("get_reply"),
    ];
    prop::collection::vec(level, 1..8).prop_map(|levels| levels.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_granted_filter_matches_no_topic_of_another_device(filter in filter()) {
        if OWN.subscribes(&filter).is_ok() {
            for other in [
                Own { product_key: "a1Le6d0abcd", device_name: "dev_0002" },
                Own { product_key: "other", device_name: "dev_0001" },
            ] {
                for downlink in Downlink::ALL {
                    prop_assert!(!mqtt_matches(&filter, &downlink.topic(other)), "{}", filter);
                }
            }
        }
    }

    #[test]
    fn what_is_granted_is_what_mqtt_would_match(filter in filter()) {
        if let Ok(granted) = OWN.subscribes(&filter) {
            // A hash in the middle is no filter at all; the codec refuses it before.
            prop_assume!(!filter.trim_end_matches('#').contains('#'));
            for downlink in Downlink::ALL {
                prop_assert_eq!(granted.contains(downlink), mqtt_matches(&filter, &downlink.topic(OWN)));
            }
        }
    }

    #[test]
    fn a_wildcard_at_the_place_of_product_or_device_is_never_granted(
        place in 0_usize..5, wild in prop_oneof![Just("+"), Just("#")],
    ) {
        let mut levels = ["ota", "device", "upgrade", "a1Le6d0abcd", "dev_0001"];
        levels[place] = wild;
        let filter = format!("/{}", levels.join("/"));
        let refused = OWN.subscribes(&filter).is_err();
        prop_assert!(refused);
    }

    #[test]
    fn no_text_makes_the_rules_panic(text in ".{0,200}") {
        let _ = OWN.publishes(&text);
        let _ = OWN.subscribes(&text);
    }
}
