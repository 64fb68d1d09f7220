//! Requests that chance has made.

use proptest::prelude::*;

use super::*;
use crate::list::ListLimits;

fn any_text() -> impl Strategy<Value = Option<String>> {
    const KNOWN: &[&str] = &["ALL", "SPECIFIC", "GRAY", "GROUP", "LINK_PLATFORM", "MQTT", "50", "dev_1", ""];
    prop_oneof![
        Just(None),
        any::<String>().prop_map(Some),
        proptest::sample::select(KNOWN).prop_map(|text| Some(text.to_owned())),
        Just(Some("x".repeat(5_000))),
    ]
}

fn any_number() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![Just(None), any::<i64>().prop_map(Some), (-2_i64..20).prop_map(Some), Just(Some(NOW + HOURS))]
}

fn any_texts() -> impl Strategy<Value = Vec<String>> {
    let text = prop_oneof![any::<String>(), "[a-z_0-9]{4,8}"];
    proptest::collection::vec(text, 0..4)
}

fn any_job() -> impl Strategy<Value = JobParams> {
    let texts =
        [any_text().boxed(), any_text().boxed(), any_text().boxed(), any_text().boxed(), any_text().boxed()];
    let numbers = proptest::collection::vec(any_number(), 6);
    let tags = proptest::collection::vec((any_text(), any_text()), 0..4);
    (texts, numbers, any::<[Option<bool>; 3]>(), tags, any::<bool>()).prop_map(
        |(texts, numbers, flags, tags, bare)| {
            let [product_key, firmware_id, download_protocol, job_desc, client_token] = texts;
            let params = JobParams {
                product_key,
                firmware_id,
                maximum_per_minute: numbers[0],
                retry_interval: numbers[1],
                retry_count: numbers[2],
                timeout_in_minutes: numbers[3],
                offer_timeout_in_minutes: numbers[4],
                overwrite_mode: numbers[5],
                multi_module_mode: flags[0],
                need_push: flags[1],
                need_confirm: flags[2],
                download_protocol,
                tag: tags.into_iter().map(|(key, value)| TagParams { key, value }).collect(),
                job_desc,
                client_token,
            };
            // Chance alone hardly ever gets past the first rule.
            if bare {
                job()
            } else {
                JobParams { product_key: text("pk"), firmware_id: text("fw"), ..params }
            }
        },
    )
}

proptest! {
    #[test]
    fn no_request_makes_parsing_panic_and_every_refusal_names_its_parameter(
        job in any_job(),
        texts in [any_text(), any_text(), any_text(), any_text(), any_text()],
        lists in (any_texts(), any_texts()),
        numbers in [any_number(), any_number(), any_number()],
        now in any::<i64>(),
        ceiling in any::<Option<u32>>(),
    ) {
        let [target_selection, dn_list_file_url, group_id, group_type, gray_percent] = texts;
        let [schedule_time, schedule_finish_time, dynamic_mode] = numbers;
        let (src_version, target_device_name) = lists;
        let limits = Limits {
            maximum_per_minute_ceiling: ceiling,
            list: ListLimits::default(),
            firmware_max_bytes: 1,
        };
        let upgrade = StaticUpgradeParams {
            job: job.clone(),
            target_selection,
            src_version: src_version.clone(),
            target_device_name: target_device_name.clone(),
            dn_list_file_url,
            group_id: group_id.clone(),
            group_type: group_type.clone(),
            gray_percent,
            schedule_time,
            schedule_finish_time,
        };
        let verify = VerifyParams { job: job.clone(), target_device_name };
        let dynamic = DynamicUpgradeParams { job, src_version, group_id, group_type, dynamic_mode };
        let refusals = [
            upgrade.parse(Timestamp::from_millis(now), &limits).err(),
            verify.parse(&limits).err(),
            dynamic.parse(&limits).err(),
        ];
        for refusal in refusals.into_iter().flatten() {
            prop_assert!(refusal.rule.starts_with(&refusal.parameter));
            prop_assert!(!refusal.parameter.is_empty() && refusal.rule.len() < 300, "{}", refusal);
        }
    }
}
