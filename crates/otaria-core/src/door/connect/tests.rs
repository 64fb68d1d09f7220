use proptest::prelude::*;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const USER: &str = "dev_0001&a1Le6d0abcd";

fn claim(client_id: &str) -> ConnectClaim {
    ConnectClaim::parse(client_id, USER).unwrap()
}

#[test]
fn the_passwords_of_clients_in_the_field_are_accepted() {
    for (client_id, password) in [
        (
            "a1Le6d0abcd&dev_0001|securemode=3,signmethod=hmacsha1,ext=1,_ss=1,lan=Python,_v=1.2.13,timestamp=1763712000|",
            "4fb869eeed6eb7804207f35505179a63c925ce9a",
        ),
        (
            "a1Le6d0abcd.dev_0001|timestamp=2524608000000,_v=sdk-c-3.0.1,securemode=3,signmethod=hmacsha256,lan=C,gw=0,ext=0|",
            "196C3D62ED528A3CCC6AABA8A116FD9E1371B43978B901A10508C2EDCC649264",
        ),
        (
            "a1Le6d0abcd&dev_0001|securemode=3,signmethod=hmacsha1,timestamp=1763712000250,lan=NodeJS,_v=1.2.8|",
            "308de2fb6f6717a803cceb9079bdeb106094e380",
        ),
        ("a1Le6d0abcd&dev_0001|securemode=3,timestamp=1763712000|", "c5e40b0e3c4105395495889242780dc1"),
        (
            "a1Le6d0abcd&dev_0001|signmethod=hmacsha256,securemode=2,timestamp=1763712000|",
            "5811b7ba6c4d597b1f7a944dd09ad4a630ae0b96c04d381041c0e8b17640c4e2",
        ),
        (
            "a1Le6d0abcd.dev_0001|signmethod=hmacmd5,timestamp=2524608000000|",
            "b26a1e30f244964c1c2123cdb318ed3a",
        ),
        (
            "a1Le6d0abcd.dev_0001|timestamp=2524608000000,signmethod=hmacsha1,ext=3,|",
            "a1a00ad3a2452fe027bcb24596bb63ea0ad67939",
        ),
        ("12345|securemode=3|", "291d5e072f91a850e7b7e1874f0a69ec"),
        ("12345|securemode=3,signmethod=hmacsha1|", "f00c63e59059361e01d49316f6aeb67ea4593d76"),
        (
            "12345|securemode=3,signmethod=hmacsha256|",
            "6a3540faad60b0137e27407982fb66eb3045f42a6fb3efb18d9859ae67704d96",
        ),
    ] {
        let claim = claim(client_id);
        assert!(claim.verify(SECRET, password.as_bytes()), "{client_id}");
        assert_eq!(claim.password(SECRET), password.to_ascii_lowercase());
        assert!(claim.verify(SECRET, password.to_ascii_uppercase().as_bytes()));
        assert!(!claim.verify(b"another secret", password.as_bytes()));
    }
}

#[test]
fn a_password_of_another_form_is_refused_and_never_panics() {
    let claim = claim("12345||");
    let whole = "291d5e072f91a850e7b7e1874f0a69ec";
    assert!(claim.verify(SECRET, whole.as_bytes()));
    let (one_more, two_more) = (format!("{whole}0"), format!("{whole}00"));
    for bad in ["", "2", "zz", "291d5e07", "é", &one_more, &two_more] {
        assert!(!claim.verify(SECRET, bad.as_bytes()), "{bad}");
    }
    assert!(!claim.verify(SECRET, &[0xff; 300]));
    assert!(!claim.verify(SECRET, &[0xff; 32]));
}

#[test]
fn a_claim_holds_what_the_client_id_says() {
    let claim = claim(
        "a1Le6d0abcd.dev_0001|timestamp=2524608000000,_ss=1,_v=sdk-c-4.x,securemode=2,signmethod=hmacsha256,ext=3,|",
    );
    assert_eq!(&*claim.id, "a1Le6d0abcd.dev_0001");
    assert_eq!(claim.product_key.as_str(), "a1Le6d0abcd");
    assert_eq!(claim.device_name.as_str(), "dev_0001");
    assert_eq!(claim.sign_method, HmacMethod::Sha256);
    assert_eq!(claim.timestamp.as_deref(), Some("2524608000000"));
    assert_eq!(claim.secure_mode, Some(SecureMode::Tls));
    assert!(claim.server_subscribes);
}

#[test]
fn a_malformed_client_id_is_told_from_a_malformed_user_name() {
    let long = format!("{}|securemode=3|", "x".repeat(65));
    let huge = format!("1|a={}|", "x".repeat(300));
    for bad in [
        "",
        "12345",
        "12345|",
        "|securemode=3|",
        "1|securemode=3",
        "1|securemode|",
        "1|securemode=4|",
        "1|signmethod=plain|",
        "1|timestamp=x|",
        "1|timestamp=|",
        "1|timestamp=1,timestamp=2|",
        "1|signmethod=hmacmd5,signmethod=hmacsha1|",
        "1|securemode=3,securemode=2|",
        &long,
        &huge,
    ] {
        assert!(matches!(ConnectClaim::parse(bad, USER), Err(BadConnect::ClientId(_))), "{bad}");
    }
    for bad in ["", "dev_0001", "&", "dev_0001&", "&a1", "dev/0001&a1", "dev_0001&a1&x", "dev_0001&ä"] {
        assert_eq!(ConnectClaim::parse("1||", bad), Err(BadConnect::UserName), "{bad}");
    }
    assert_eq!(ConnectClaim::parse("1|authType=register|", USER), Err(BadConnect::Registration));
}

/// Devices in the field use them up to the last byte.
#[test]
fn limits_are_inclusive() {
    let of = |id: usize, whole: usize| format!("{}|a={}|", "x".repeat(id), "y".repeat(whole - id - 4));
    assert_eq!(claim(&of(64, 256)).id.len(), 64);
    for (id, whole) in [(65, 200), (64, 257)] {
        assert!(ConnectClaim::parse(&of(id, whole), USER).is_err(), "{id} bytes of {whole}");
    }
}

#[test]
fn an_access_key_id_is_no_device() {
    assert!(is_platform("LTAI5tExample"));
    assert!(!is_platform(USER));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(client_id in ".{0,300}", user in ".{0,80}", password in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(claim) = ConnectClaim::parse(&client_id, &user) {
            let _ = claim.verify(SECRET, &password);
        }
    }
}
