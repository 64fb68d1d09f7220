//! What SDKs really sent, byte by byte, answered at the instant of its signature.

use otaria_core::time::Timestamp;

use crate::world::World;

/// A request as it was on the wire, its instant, and the code of the answer; empty for success.
macro_rules! recorded {
    ($($name:literal at $at:literal => $code:literal,)+) => {
        [$((
            $name,
            include_str!(concat!("../recorded/", $name, ".http")),
            $at,
            $code,
        )),+]
    };
}

#[tokio::test]
async fn each_request_of_an_sdk_is_taken_once() {
    let requests = recorded![
        "v3-create-product" at "2026-11-21T19:44:50Z" => "",
        "v3-special-characters" at "2026-11-21T19:44:50Z" => "",
        "v3-form-body" at "2026-11-21T19:44:50Z" => "iot.prod.NotExistedProduct",
        "v3-get" at "2026-11-21T19:46:34Z" => "iot.prod.NotExistedProduct",
        "rpc-form-body" at "2026-11-21T19:44:50Z" => "iot.prod.NotExistedProduct",
        "v3-static-job" at "2026-11-21T19:44:54Z" => "iot.prod.NotExistedProduct",
        "rpc-create-product" at "2026-11-21T19:44:50Z" => "",
        "rpc-job-with-tags" at "2026-11-21T19:45:05Z" => "iot.prod.NotExistedProduct",
        "rpc-all-in-the-body" at "2026-11-21T19:48:18Z" => "",
        "rpc-get" at "2026-11-21T19:48:18Z" => "MissingJobId",
        "v3-node-few-headers" at "2026-11-21T19:48:18Z" => "MissingFirmwareId",
    ];
    let world = World::new().await;
    for (name, text, at, code) in requests {
        let at: jiff::Timestamp = at.parse().unwrap();
        world.clock.set(Timestamp::from_millis(at.as_millisecond()));
        let (head, body) = text.split_once("\n\n").unwrap();
        let request = format!("{}\r\n\r\n{}", head.replace('\n', "\r\n"), body.trim_end());

        let answer = world.send(&request).await;
        if code.is_empty() {
            answer.ok();
        } else {
            assert_eq!(answer.refused().1, code, "{name}");
        }
        let again = world.send(&request).await;
        assert_eq!(again.refused(), (400, "SignatureNonceUsed".into()), "{name}");
    }
}
