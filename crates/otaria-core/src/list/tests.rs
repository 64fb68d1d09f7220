use proptest::prelude::*;

use super::*;
use crate::ids::DeviceName;

/// A line that outlives its reader.
type Owned = (Result<String, (Fault, String)>, u64);

fn owned(line: Line<'_>) -> Owned {
    (line.name.map(str::to_owned).map_err(|bad| (bad.fault, bad.sample())), line.end)
}

/// Reads a file that is cut at `cuts`, from `offset` on.
fn read(file: &[u8], offset: u64, cuts: &[usize]) -> Vec<Owned> {
    let mut reader = ListReader::resume_at(offset);
    let mut lines = Vec::new();
    let mut rest = &file[usize::try_from(offset).unwrap()..];
    for cut in cuts {
        let (piece, behind) = rest.split_at((*cut).min(rest.len()));
        reader.push(piece, |line| lines.push(owned(line)));
        rest = behind;
    }
    reader.push(rest, |line| lines.push(owned(line)));
    assert_eq!(reader.offset(), file.len() as u64);
    lines.extend(reader.finish().map(owned));
    assert!(reader.finish().is_none());
    lines
}

fn names(file: &[u8]) -> Vec<String> {
    read(file, 0, &[]).into_iter().filter_map(|(name, _)| name.ok()).collect()
}

#[test]
fn every_usual_form_of_a_file_reads_the_same() {
    for file in [
        "dev_1\ndev_2\ndev_3",
        "dev_1\ndev_2\ndev_3\n",
        "dev_1\r\ndev_2\r\ndev_3\r\n",
        "\u{feff}dev_1\ndev_2\ndev_3\n",
        "\n\n dev_1\t\n  \n\r\ndev_2 \n\x0cdev_3\n \n",
        "dev_1,dev_2,dev_3",
        "dev_1, dev_2,\ndev_3,",
    ] {
        assert_eq!(names(file.as_bytes()), ["dev_1", "dev_2", "dev_3"], "{file:?}");
    }
}

#[test]
fn an_empty_file_has_no_lines() {
    for file in ["", "\n", "\u{feff}", "\u{feff}\r\n", ",,,", " \t\r\n \x0c"] {
        assert_eq!(read(file.as_bytes(), 0, &[]), [], "{file:?}");
    }
}

#[test]
fn a_malformed_line_says_what_is_wrong_and_harms_no_other() {
    let file = b"good_1\nbad name\nabc\nno\xff\xfe\xfdutf8\n\xef\xbb\xbfgood_2\ngood_3\n";
    let faults: Vec<_> =
        read(file, 0, &[]).into_iter().map(|(name, _)| name.map_err(|(fault, _)| fault)).collect();
    assert_eq!(
        faults,
        [
            Ok("good_1".to_owned()),
            Err(Fault::NotAName),
            Err(Fault::NotAName),
            Err(Fault::NotUtf8),
            Err(Fault::NotAName), // A byte order mark in the middle is none.
            Ok("good_3".to_owned()),
        ]
    );
}

#[test]
fn half_a_byte_order_mark_is_junk_on_the_first_line() {
    for file in [&b"\xef\xbbdev_1\ndev_2"[..], &b"\xef\n\xbb\xbf\ndev_2"[..], &b"\xef"[..], &b"\xef\xbb"[..]]
    {
        let whole = read(file, 0, &[]);
        assert_eq!(whole[0].0.as_ref().unwrap_err().0, Fault::NotUtf8);
        assert_eq!(whole, read(file, 0, &[1, 1, 1, 1]));
    }
}

#[test]
fn a_sample_is_short_and_printable() {
    let (long, _) = read("ü".repeat(40).as_bytes(), 0, &[]).remove(0);
    let (_, sample) = long.unwrap_err();
    assert_eq!(sample.chars().count(), SAMPLE_MAX_CHARS + 1);
    let (binary, _) = read(b"\x1b[2J\x00dev\x07", 0, &[]).remove(0);
    assert_eq!(binary.unwrap_err(), (Fault::NotAName, "\u{fffd}[2J\u{fffd}dev\u{fffd}".to_owned()));
}

#[test]
fn a_line_of_ten_megabytes_is_skipped_in_the_memory_of_a_short_one() {
    let mut reader = ListReader::new();
    let piece = vec![b'x'; 64 * 1024];
    reader.push(b"dev_1\n", |_| {});
    for _ in 0..160 {
        reader.push(&piece, |line| panic!("{line:?}"));
    }
    let mut lines = Vec::new();
    reader.push(b"\ndev_2\n", |line| lines.push(owned(line)));
    let end = 6 + 160 * 65_536 + 1;
    assert_eq!(lines[0], (Err((Fault::TooLong, "x".repeat(32) + "…")), end));
    assert_eq!(lines[1], (Ok("dev_2".to_owned()), end + 6));
    assert!(size_of::<ListReader>() < 128);
}

#[test]
fn blanks_of_any_length_around_a_name_do_not_count() {
    let blanks = " \t".repeat(100_000);
    let file = format!("{blanks}dev_1{blanks}\r\n{blanks}\n{blanks}dev_2{blanks}");
    let whole = read(file.as_bytes(), 0, &[]);
    assert_eq!(whole.iter().map(|(name, _)| name.clone().unwrap()).collect::<Vec<_>>(), ["dev_1", "dev_2"]);
    assert_eq!(whole, read(file.as_bytes(), 0, &[7, 200_000, 3, 1, 1, 1, 1, 100_000]));
}

#[test]
fn a_caller_may_stop_after_any_line() {
    let mut reader = ListReader::new();
    let mut piece = &b"dev_1\ndev_2\nde"[..];
    assert_eq!(reader.next_line(&mut piece).unwrap().name, Ok("dev_1"));
    assert_eq!(reader.offset(), 6);
    assert_eq!(reader.next_line(&mut piece).unwrap().end, 12);
    assert!(reader.next_line(&mut piece).is_none());
    assert!(piece.is_empty());
    assert_eq!(reader.next_line(&mut &b"v_3\n"[..]).unwrap().name, Ok("dev_3"));
}

#[test]
fn what_is_taken_for_a_name_is_exactly_a_device_name() {
    for byte in 0..=127_u8 {
        let text = format!("dev{}", char::from(byte));
        assert_eq!(is_device_name(&text), DeviceName::parse(&text).is_ok(), "{text:?}");
    }
    for len in 0..=LINE_MAX_BYTES {
        let text = "d".repeat(len);
        assert_eq!(is_device_name(&text), DeviceName::parse(&text).is_ok(), "{len}");
    }
    assert!(!is_device_name("devü"));
}

#[test]
fn limits_are_inclusive() {
    let limits = ListLimits { max_lines: 2, max_bytes: 10 };
    assert_eq!(limits.check(2, 10), Ok(()));
    assert_eq!(limits.check(3, 10), Err(TooLarge::Lines { max: 2 }));
    assert_eq!(limits.check(0, 11), Err(TooLarge::Bytes { max: 10 }));
}

/// Files of what files are made of, good and bad.
fn file() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => "[a-z0-9_.:@-]{4,32}".prop_map(String::into_bytes),
        6 => proptest::sample::select(&["\n", "\r\n", ",", " ", "\t"][..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => Just(BOM.to_vec()),
        1 => (0_usize..3).prop_map(|n| BOM[..n].to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..80),
        1 => (60_usize..70).prop_map(|n| vec![b'y'; n]),
        1 => (60_usize..70).prop_map(|n| vec![b' '; n]),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The same rules said slowly.
fn simply(file: &[u8]) -> Vec<Owned> {
    let skipped = if file.starts_with(BOM) { BOM.len() } else { 0 };
    let mut end = skipped as u64;
    let mut lines = Vec::new();
    for line in file[skipped..].split_inclusive(|byte| matches!(byte, b'\n' | b',')) {
        end += line.len() as u64;
        let text = line.strip_suffix(b"\n").or_else(|| line.strip_suffix(b",")).unwrap_or(line).trim_ascii();
        if text.is_empty() {
            continue;
        }
        let name = match std::str::from_utf8(text) {
            Ok(name) if text.len() <= LINE_MAX_BYTES && DeviceName::parse(name).is_ok() => {
                Ok(name.to_owned())
            }
            decoded => {
                let fault = match decoded {
                    _ if text.len() > LINE_MAX_BYTES => Fault::TooLong,
                    Ok(_) => Fault::NotAName,
                    Err(_) => Fault::NotUtf8,
                };
                let beginning = &text[..text.len().min(LINE_MAX_BYTES)];
                Err((fault, Malformed { fault, beginning }.sample()))
            }
        };
        lines.push((name, end));
    }
    lines
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_the_pieces(file in file(), cuts in proptest::collection::vec(0_usize..40, 0..40)) {
        prop_assert_eq!(read(&file, 0, &cuts), simply(&file));
    }

    #[test]
    fn a_resumed_reader_yields_exactly_the_rest(
        file in file(),
        cuts in proptest::collection::vec(0_usize..40, 0..40),
    ) {
        let whole = read(&file, 0, &[]);
        for (n, (_, end)) in whole.iter().enumerate() {
            prop_assert_eq!(&read(&file, *end, &cuts), &whole[n + 1..]);
        }
    }
}

#[test]
fn a_million_names_are_read_in_one_go() {
    let file: Vec<u8> = (0..1_000_000).flat_map(|n| format!("device_{n:08}\n").into_bytes()).collect();
    let mut reader = ListReader::new();
    let (mut lines, mut bytes) = (0_u64, 0);
    for piece in file.chunks(64 * 1024) {
        reader.push(piece, |line| {
            lines += 1;
            bytes += line.name.unwrap().len();
        });
    }
    assert_eq!((lines, bytes), (1_000_000, 15_000_000));
}
