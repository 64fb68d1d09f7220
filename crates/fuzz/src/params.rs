//! The parameters of a call: from query and form to jobs and firmware that cannot be wrong.

use std::collections::BTreeMap;

use otaria_core::firmware::NewFirmware;
use otaria_core::job::{NewJob, Target};
use otaria_core::rules::{Kind, Limits, Refusal};
use otaria_core::time::Timestamp;
use otaria_openapi::untrusted::{Parameters, pairs};

/// 2026-11-21T08:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_795_248_000_000);

/// The first line is the query, what follows the form.
pub(crate) fn run(input: &[u8]) {
    let mut lines = input.splitn(2, |byte| *byte == b'\n');
    let (query, form) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let read = Parameters::read(query, form);
    table(&read, query, form);
    lists(&read);
    typed(&read);
}

/// Query and form are one table, in which the first of a name counts.
fn table(read: &Parameters, query: &[u8], form: &[u8]) {
    let all = [pairs(query), pairs(form)].concat();
    let mut plain = BTreeMap::new();
    for (name, value) in &all {
        plain.entry(name.clone()).or_insert_with(|| value.clone());
    }
    assert_eq!(read.pairs(), plain.into_iter().collect::<Vec<_>>());

    // Written by another hand and in another place, it is the same table.
    let written = written(&all);
    assert_eq!(pairs(written.as_bytes()), all, "pairs changed on their way");
    assert_eq!(Parameters::read(b"", written.as_bytes()), *read);
    assert_eq!(Parameters::read(written.as_bytes(), form), *read);

    let distinct: Vec<_> = read.pairs().into_iter().rev().collect();
    assert_eq!(Parameters::read(self::written(&distinct).as_bytes(), b""), *read, "their order mattered");
}

fn written(pairs: &[(String, String)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A list comes in the order of its numbers.
fn lists(read: &Parameters) {
    for name in ["Tag", "SrcVersion", "TargetDeviceName", "a"] {
        let mut plain: Vec<(u64, String)> = Vec::new();
        for (key, value) in read.pairs() {
            let number = key.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')?.parse().ok());
            plain.extend(number.map(|number| (number, value)));
        }
        plain.sort_by_key(|(number, _)| *number);
        assert_eq!(read.list(name), plain.into_iter().map(|(_, value)| value).collect::<Vec<_>>());
    }
    match read.page(100) {
        Ok((skip, size)) => assert!((1..=100).contains(&size) && skip + size <= 100_000 && skip % size == 0),
        Err(refusal) => refused(&refusal),
    }
}

fn typed(read: &Parameters) {
    let limits = Limits::default();
    held(read.static_job().and_then(|params| params.parse(NOW, &limits)), job);
    held(read.verify_job().and_then(|params| params.parse(&limits)), job);
    held(read.dynamic_job().and_then(|params| params.parse(&limits)), |made| job(&made.job));
    held(read.firmware().and_then(|params| params.parse(&limits)), firmware);
    if let Ok(made) = read.dynamic_job().and_then(|params| params.parse(&limits)) {
        held(read.update_job().and_then(|params| params.parse(&made.job, &limits)), |update| {
            let mut changed = made.job.clone();
            update.apply(&mut changed);
            job(&changed);
        });
    }
}

fn held<T>(read: Result<T, Refusal>, check: impl FnOnce(&T)) {
    match read {
        Ok(made) => check(&made),
        Err(refusal) => refused(&refusal),
    }
}

/// A refusal names a parameter and says a sentence about it, short whatever the parameter holds.
fn refused(refusal: &Refusal) {
    assert!(!refusal.parameter.is_empty() && refusal.parameter.len() <= 64, "{refusal:?}");
    assert!(refusal.rule.starts_with(&refusal.parameter) && refusal.rule.ends_with('.'), "{refusal:?}");
    assert!(refusal.rule.len() <= 512, "{refusal:?}");
    let code = refusal.code_text();
    assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{code}");
    assert!(refusal.kind == Kind::Invalid || code.starts_with("Missing"), "{code}");
}

/// What the product counts on in every job.
fn job(job: &NewJob) {
    match &job.target {
        Target::All { src_versions } | Target::Gray { src_versions, .. } => {
            assert!(src_versions.len() <= 10);
            assert!(src_versions.iter().all(|version| times(src_versions, version) == 1));
        }
        Target::Names(names) => {
            assert!((1..=200).contains(&names.len()));
            assert!(names.iter().all(|name| times(names, name) == 1), "a device twice");
        }
        Target::ListFile { file_url } => assert!((1..=1_024).contains(&file_url.chars().count())),
        Target::Group { group_id } => assert!((1..=64).contains(&group_id.chars().count())),
    }
    let start = job.schedule.start.unwrap_or(NOW);
    assert!(start >= NOW && job.schedule.finish.is_none_or(|finish| finish > start));
    assert!(job.description.chars().count() <= 100 && !job.description.contains('\0'));
}

fn times<T: PartialEq>(all: &[T], one: &T) -> usize {
    all.iter().filter(|other| *other == one).count()
}

/// What the product counts on in every firmware.
fn firmware(made: &NewFirmware) {
    assert!((1..=20).contains(&made.files.len()));
    assert!(made.files.len() == 1 || made.files.iter().all(|file| file.name.is_some()));
    assert!(made.files.iter().all(|file| times(&made.files, file) == 1));
    for file in &made.files {
        assert!(
            file.size_bytes.is_none_or(|size| (1..=Limits::default().firmware_max_bytes).contains(&size))
        );
        let digits = file.sign.as_ref().map(|sign| sign.as_str().len());
        assert!(digits.is_none_or(|digits| digits == made.sign_method.hex_digits()));
    }
}
