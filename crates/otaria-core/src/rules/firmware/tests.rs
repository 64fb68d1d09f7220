use proptest::prelude::*;

use super::*;
use crate::rules::Kind;

const MD5: &str = "9e107d9d372bb6826bd81d3542a419d6";
const OTHER_MD5: &str = "e4d909c290d0fb1ca068ffaddf22cbd0";

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn good() -> FirmwareParams {
    FirmwareParams {
        product_key: text("a1Le6d0abcd"),
        firmware_name: text("fw-1"),
        dest_version: text("2.0.0"),
        firmware_url: text("https://files/fw.bin"),
        ..FirmwareParams::default()
    }
}

fn file(n: usize) -> MultiFileParams {
    MultiFileParams {
        name: text(&format!("part{n}")),
        url: text("https://files/p"),
        ..MultiFileParams::default()
    }
}

fn several() -> FirmwareParams {
    FirmwareParams { firmware_url: None, multi_files: vec![file(1), file(2)], ..good() }
}

fn parse(params: &FirmwareParams) -> Result<NewFirmware, Refusal> {
    params.parse(&Limits::default())
}

type Edit = (fn(&mut FirmwareParams), &'static str);

fn refused(good: &FirmwareParams, kind: Kind, edits: &[Edit]) {
    parse(good).expect("good before the edit");
    for (n, (edit, parameter)) in edits.iter().enumerate() {
        let mut params = good.clone();
        edit(&mut params);
        let refusal = parse(&params).expect_err(parameter);
        assert_eq!((refusal.parameter.as_str(), refusal.kind), (*parameter, kind), "{n}: {refusal}");
    }
}

#[test]
fn what_is_not_said_has_a_default() {
    let firmware = parse(&good()).unwrap();
    assert_eq!(firmware.kind, FirmwareKind::Whole);
    assert!(firmware.module.is_default() && firmware.need_to_verify);
    assert_eq!(firmware.sign_method, SignMethod::Md5);
    assert_eq!((firmware.description.as_str(), firmware.udi.as_str()), ("", ""));
    let file =
        NewFile { name: None, url: "https://files/fw.bin".into(), size_bytes: None, sign: None, md5: None };
    assert_eq!(firmware.files, [file]);
}

#[test]
fn required_parameters() {
    refused(
        &good(),
        Kind::Missing,
        &[
            (|p| p.firmware_name = None, "FirmwareName"),
            (|p| p.dest_version = None, "DestVersion"),
            (|p| p.product_key = text(""), "ProductKey"),
            (|p| p.firmware_url = None, "FirmwareUrl"),
            (|p| p.kind = Some(1), "SrcVersion"),
        ],
    );
}

#[test]
fn every_rule_has_a_refusal_that_names_it() {
    refused(
        &good(),
        Kind::Invalid,
        &[
            (|p| p.firmware_name = text("-x"), "FirmwareName"),
            (|p| p.dest_version = text("2 0"), "DestVersion"),
            (|p| p.dest_version = Some("2".repeat(65)), "DestVersion"),
            (|p| p.product_key = text("a/b"), "ProductKey"),
            (|p| p.kind = Some(2), "Type"),
            (|p| p.src_version = text("1.0"), "SrcVersion"),
            (|p| (p.kind, p.src_version) = (Some(1), text("2.0.0")), "SrcVersion"),
            (|p| (p.kind, p.src_version) = (Some(1), text("1 0")), "SrcVersion"),
            (|p| p.module_name = text("a b"), "ModuleName"),
            (|p| p.firmware_desc = Some("x".repeat(101)), "FirmwareDesc"),
            (|p| p.sign_method = text("Md5"), "SignMethod"),
            (|p| p.firmware_sign = text("12"), "FirmwareSign"),
            (|p| (p.sign_method, p.firmware_sign) = (text("SHA256"), text(MD5)), "FirmwareSign"),
            (|p| p.firmware_size = Some(0), "FirmwareSize"),
            (|p| p.firmware_size = Some(1_000 * 1024 * 1024 + 1), "FirmwareSize"),
            (|p| p.udi = Some("u".repeat(4_097)), "Udi"),
            (|p| p.udi = text("a\0"), "Udi"),
            (|p| p.firmware_url = Some("u".repeat(1_025)), "FirmwareUrl"),
        ],
    );
}

#[test]
fn a_difference_package_says_from_where() {
    let params = FirmwareParams { kind: Some(1), src_version: text("1.0"), ..good() };
    let src_version = Version::parse("1.0").unwrap();
    assert_eq!(parse(&params).unwrap().kind, FirmwareKind::Difference { src_version });
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let params = FirmwareParams {
        firmware_desc: Some("ü".repeat(100)),
        udi: Some("ü".repeat(4_096)),
        firmware_size: Some(1_000 * 1024 * 1024),
        firmware_sign: Some(MD5.to_uppercase()),
        need_to_verify: Some(false),
        ..good()
    };
    let firmware = parse(&params).unwrap();
    assert_eq!(firmware.files[0].sign.as_ref().unwrap().as_str(), MD5);
    assert!(!firmware.need_to_verify);
}

#[test]
fn packages_of_several_files() {
    let full = FirmwareParams { multi_files: (0..20).map(file).collect(), ..several() };
    assert_eq!(parse(&full).unwrap().files.len(), 20);
    refused(
        &several(),
        Kind::Invalid,
        &[
            (|p| p.multi_files = (0..21).map(file).collect(), "MultiFiles"),
            (|p| p.firmware_url = text("https://files/fw.bin"), "FirmwareUrl"),
            (|p| p.firmware_sign = text(MD5), "FirmwareSign"),
            (|p| p.firmware_size = Some(5), "FirmwareSize"),
            (|p| p.multi_files[1].name = text("part1"), "MultiFiles.2.Name"),
            (|p| p.multi_files[1].name = Some("n".repeat(33)), "MultiFiles.2.Name"),
            (|p| p.multi_files[0].size = Some(-1), "MultiFiles.1.Size"),
            (|p| p.multi_files[0].sign_value = text("xyz"), "MultiFiles.1.SignValue"),
            (|p| p.multi_files[0].file_md5 = text("xyz"), "MultiFiles.1.FileMd5"),
            (
                |p| {
                    p.multi_files[0].sign_value = text(MD5);
                    p.multi_files[0].file_md5 = text(OTHER_MD5);
                },
                "MultiFiles.1.FileMd5",
            ),
        ],
    );
    refused(
        &several(),
        Kind::Missing,
        &[
            (|p| p.multi_files[0].name = None, "MultiFiles.1.Name"),
            (|p| p.multi_files[1].url = None, "MultiFiles.2.Url"),
        ],
    );
}

#[test]
fn an_md5_is_one_digest_under_two_names_and_a_second_one_beside_sha256() {
    let mut params = several();
    params.multi_files[0].file_md5 = text(MD5);
    let file = parse(&params).unwrap().files.remove(0);
    assert_eq!((file.sign.unwrap().as_str(), file.md5), (MD5, None));

    params.sign_method = text("SHA256");
    let file = parse(&params).unwrap().files.remove(0);
    assert_eq!((file.sign, file.md5.unwrap().as_str()), (None, MD5));
}

proptest! {
    #[test]
    fn no_request_makes_parsing_panic(
        texts in proptest::collection::vec(any::<Option<String>>(), 10),
        numbers in any::<[Option<i64>; 2]>(),
        names in proptest::collection::vec(any::<Option<String>>(), 0..4),
        keep in any::<bool>(),
    ) {
        let at = |n: usize| texts[n].clone();
        let files = names.into_iter().map(|name| MultiFileParams { name, url: at(9), ..MultiFileParams::default() });
        let params = FirmwareParams {
            kind: numbers[0],
            firmware_size: numbers[1],
            src_version: at(0),
            module_name: at(1),
            firmware_desc: at(2),
            firmware_sign: at(3),
            sign_method: at(4),
            udi: at(5),
            multi_files: files.collect(),
            ..good()
        };
        let params = if keep { params } else { FirmwareParams { firmware_name: at(6), dest_version: at(7), ..params } };
        if let Err(refusal) = parse(&params) {
            prop_assert!(refusal.rule.starts_with(&refusal.parameter) && !refusal.parameter.is_empty());
        }
    }
}
