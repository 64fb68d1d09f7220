//! How a job treats its devices, and which devices a dynamic group takes: numbers and rules that people write.
//!
//! The first line holds the parameters of a job, what follows the rule of a group.

use std::time::Duration;

use otaria_core::expression::{EXPRESSION_MAX, GroupExpression};
use otaria_core::gray::GrayPercent;
use otaria_core::ids::{DeviceName, ProductKey};
use otaria_core::job::{NewJob, OverwriteMode};
use otaria_core::rules::{DynamicUpgradeParams, JobParams, Limits, UpdateJobParams};
use otaria_openapi::untrusted::Parameters;

pub(crate) fn run(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let read = Parameters::read(lines.next().unwrap_or_default(), b"");
    if let Ok(dynamic) = read.dynamic_job() {
        policy(&dynamic.job, read.update_job().ok().as_ref());
    }
    for (_, text) in read.pairs() {
        percent(&text);
    }
    if let Ok(text) = std::str::from_utf8(lines.next().unwrap_or_default()) {
        rule(text);
        pattern(text);
    }
}

/// A policy is taken if and only if its numbers are within their bounds and fit each other.
fn policy(given: &JobParams, update: Option<&UpdateJobParams>) {
    let job = JobParams {
        product_key: Some("a1Le6d0abcd".to_owned()),
        firmware_id: Some("fw0001".to_owned()),
        job_desc: None,
        client_token: None,
        tag: Vec::new(),
        ..given.clone()
    };
    let params = DynamicUpgradeParams { job, ..DynamicUpgradeParams::default() };
    let made = params.parse(&Limits::default());
    assert_eq!(made.is_ok(), is_good(given), "{given:?}: {made:?}");
    let Ok(made) = made else { return };

    let minutes = |span: Duration| i64::try_from(span.as_secs() / 60).expect("a day at most");
    let policy = &made.job.policy;
    assert_eq!(i64::from(policy.maximum_per_minute.get()), given.maximum_per_minute.unwrap_or(10_000));
    assert_eq!(policy.timeout.map(minutes), given.timeout_in_minutes);
    assert_eq!(policy.offer_timeout.map(minutes), given.offer_timeout_in_minutes);
    assert_eq!(policy.retry.map(|retry| minutes(retry.interval)), given.retry_interval);
    assert_eq!(policy.retry.map(|retry| i64::from(retry.count)), given.retry_count);
    assert_eq!(policy.overwrite.code(), given.overwrite_mode.unwrap_or(1));
    assert_eq!(policy.need_push, given.need_push.unwrap_or(true));
    assert_eq!(policy.need_confirm, given.need_confirm.unwrap_or(false));
    fits(&made.job);
    if let Some(update) = update {
        changed(&made.job, update);
    }
}

fn is_good(given: &JobParams) -> bool {
    let within = |number: Option<i64>, min, max| number.is_none_or(|number| (min..=max).contains(&number));
    let timeout = given.timeout_in_minutes;
    let retry = match (given.retry_interval, given.retry_count) {
        (None, None) => true,
        (Some(interval), Some(count)) => {
            [0, 10, 30, 60, 1_440].contains(&interval)
                && [1, 2, 5].contains(&count)
                && timeout.is_none_or(|timeout| interval < timeout)
        }
        _ => false,
    };
    let overwrite = match given.overwrite_mode {
        None | Some(1) => true,
        Some(2) => given.multi_module_mode != Some(true),
        Some(_) => false,
    };
    let protocol = given.download_protocol.as_deref();
    within(given.maximum_per_minute, 10, 10_000)
        && within(timeout, 1, 1_440)
        && within(given.offer_timeout_in_minutes, 1, 1_440)
        && retry
        && overwrite
        && matches!(protocol, None | Some("" | "HTTPS" | "MQTT"))
}

/// What a change may not undo.
fn fits(job: &NewJob) {
    let policy = &job.policy;
    assert!((10..=10_000).contains(&policy.maximum_per_minute.get()));
    if let (Some(retry), Some(timeout)) = (policy.retry, policy.timeout) {
        assert!(retry.interval < timeout, "a retry that would come after its timeout");
    }
    assert!(!(policy.multi_module && policy.overwrite == OverwriteMode::Replace));
    let chars = job.tags.iter().map(|tag| tag.key.len() + tag.value.chars().count()).sum::<usize>();
    assert!(job.tags.len() <= 10 && chars <= 4_096);
    for (at, tag) in job.tags.iter().enumerate() {
        assert!(job.tags[..at].iter().all(|other| other.key != tag.key), "a key twice");
    }
}

fn changed(job: &NewJob, update: &UpdateJobParams) {
    let Ok(update) = update.parse(job, &Limits::default()) else { return };
    let mut once = job.clone();
    update.apply(&mut once);
    fits(&once);
    let mut twice = once.clone();
    update.apply(&mut twice);
    assert_eq!(once, twice);
}

/// A percentage is exact decimals, and grows with the fleet.
fn percent(text: &str) {
    let Some(percent) = GrayPercent::parse(text) else { return };
    assert_eq!(GrayPercent::parse(&percent.to_string()), Some(percent), "{text}");
    assert_eq!(GrayPercent::from_thousandths(percent.thousandths()), Some(percent));
    let float: f64 = text.parse().expect("a decimal number");
    assert!((float * 1_000.0 - f64::from(percent.thousandths())).abs() < 0.01, "{text}");
    let mut before = 0;
    for devices in [0, 1, 99, 100, 1_000_000, u64::MAX] {
        let part = percent.count(devices);
        assert!((before..=devices).contains(&part));
        before = part;
    }
}

/// Devices to try a rule with, those that it names among them.
fn devices(text: &str) -> Vec<(ProductKey, DeviceName)> {
    let quoted = || text.split(['"', '\'']);
    let fixed = ["a1Bc2De3Fg4", "b1"].into_iter();
    let products: Vec<ProductKey> =
        fixed.chain(quoted()).filter_map(|text| ProductKey::parse(text).ok()).take(6).collect();
    let fixed = ["pump-1", "pump-12", "x:y@"].into_iter();
    let names = fixed.chain(quoted()).filter_map(|text| DeviceName::parse(text).ok()).take(8);
    names.flat_map(|name| products.iter().map(move |product| (product.clone(), name.clone()))).collect()
}

fn rule(text: &str) {
    let parsed = match GroupExpression::parse(text) {
        Ok(parsed) => parsed,
        Err(bad) => {
            let last = text.chars().count().min(EXPRESSION_MAX) + 1;
            assert!((1..=last).contains(&bad.at), "{bad}");
            return;
        }
    };
    assert_eq!(parsed.as_str(), text);

    // Other rules that say the same, and their opposites.
    let same = [
        format!("({text})"),
        format!("not not ({text})"),
        format!(" {text}\t"),
        format!("({text}) and ({text})"),
    ];
    let never = [format!("not ({text})")];
    let taken: Vec<_> = devices(text).into_iter().map(|(p, n)| (parsed.takes(&p, &n), p, n)).collect();
    for (others, is_same) in [(&same[..], true), (&never[..], false)] {
        for other in others.iter().filter(|other| other.chars().count() <= EXPRESSION_MAX) {
            let other = GroupExpression::parse(other).unwrap_or_else(|bad| panic!("{other}: {bad}"));
            for (is_taken, product, name) in &taken {
                assert_eq!(other.takes(product, name), *is_taken == is_same, "{other}: {product} {name}");
            }
        }
    }

    // Nobody is overlooked who is looked for among these products alone.
    if let Some(products) = parsed.products() {
        for (is_taken, product, name) in &taken {
            assert!(!is_taken || products.contains(product), "{text}: {product} {name}");
        }
    }
}

/// A pattern means what it means character by character.
fn pattern(text: &str) {
    if text.contains('"') {
        return;
    }
    let Ok(like) = GroupExpression::parse(&format!("name like \"{text}\"")) else { return };
    let unlike = GroupExpression::parse(&format!("name not like \"{text}\"")).ok();
    for (product, name) in devices(&text.replace('%', "\"")) {
        let plain = is_like(text.as_bytes(), name.as_str().as_bytes());
        assert_eq!(like.takes(&product, &name), plain, "{text:?} and {name}");
        assert!(unlike.as_ref().is_none_or(|unlike| unlike.takes(&product, &name) != plain));
    }
}

/// Which beginnings of a text each beginning of a pattern matches, one row after the other.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let mut matches = vec![false; text.len() + 1];
    matches[0] = true;
    for wanted in pattern {
        let before = matches.clone();
        for end in 0..=text.len() {
            matches[end] = if *wanted == b'%' {
                before[..=end].contains(&true)
            } else {
                end > 0 && before[end - 1] && text[end - 1] == *wanted
            };
        }
    }
    matches[text.len()]
}
