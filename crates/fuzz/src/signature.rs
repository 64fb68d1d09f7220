//! Who signed a call: both styles of the SDKs, and what of a request their signatures cover.
//!
//! The input is a request as text: method and target, headers, an empty line, the body.

use otaria_core::time::Timestamp;
use otaria_openapi::untrusted::{Arrived, Signed, canonical, encode, pairs};
use percent_encoding::percent_decode_str;

/// 2026-11-21T19:50:00Z, when the kept requests were made.
const NOW: Timestamp = Timestamp::from_millis(1_795_290_600_000);

#[derive(Clone, Debug)]
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    query: Vec<(String, String)>,
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

pub(crate) fn run(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        encoded(text);
    }
    let Some((request, arrived)) = read(input) else { return };
    canonically(arrived.query());
    let Ok(signed) = arrived.signed() else { return };
    plain(&arrived, &signed);
    for other in others(&request) {
        let Some(changed) = other.arrives() else { continue };
        covered(&arrived, &signed, &changed);
    }
}

/// Encoding loses nothing, and leaves only what needs none.
fn encoded(text: &str) {
    let encoded = encode(text);
    assert_eq!(percent_decode_str(&encoded).decode_utf8().as_deref(), Ok(text));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte);
    assert!(encoded.bytes().all(is_plain));
    assert_eq!(
        encoded.len(),
        text.bytes().map(|byte| if is_plain(byte) && byte != b'%' { 1 } else { 3 }).sum::<usize>()
    );
}

/// The canonical text holds the pairs and nothing else; where no name comes twice, in no order of their own.
fn canonically(query: &[(String, String)]) {
    let text = canonical(query);
    let mut sorted = query.to_vec();
    sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
    let read: Vec<(String, String)> = text.split('&').filter(|pair| !pair.is_empty()).map(decoded).collect();
    assert_eq!(read, sorted, "{text}");

    let mut reversed = query.to_vec();
    reversed.reverse();
    if sorted.windows(2).all(|pair| pair[0].0 != pair[1].0) {
        assert_eq!(canonical(&reversed), text, "their order mattered");
    }
}

fn decoded(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').expect("a name and a value");
    let decode = |text: &str| percent_decode_str(text).decode_utf8().expect("text").into_owned();
    (decode(name), decode(value))
}

/// What holds of every signed call by itself.
fn plain(arrived: &Arrived, signed: &Signed) {
    assert!(signed.nonce().chars().count() <= 128);
    assert!(!(signed.is_by(b"testsk") && signed.is_by(b"another")), "signed by two");
    if let Some(until) = signed.fresh_until(NOW) {
        assert!(until > NOW);
    }
    // RPC v1 signs its parameters as they are, so they can be read back.
    if !signed.string_to_sign().starts_with("ACS3-") {
        let mut parts = signed.string_to_sign().splitn(3, '&');
        let (_method, path, all) = (parts.next(), parts.next(), parts.next().expect("parameters"));
        assert_eq!(path, Some("%2F"));
        let all = percent_decode_str(all).decode_utf8().expect("text").into_owned();
        let mut wanted = arrived.parameters().pairs();
        wanted.retain(|(name, _)| name != "Signature");
        assert_eq!(all.split('&').map(decoded).collect::<Vec<_>>(), wanted);
    }
}

/// A request that has the same text to sign does the same thing: nobody can change what was signed.
fn covered(arrived: &Arrived, signed: &Signed, changed: &Arrived) {
    let Ok(other) = changed.signed() else { return };
    if other.string_to_sign() != signed.string_to_sign() {
        return;
    }
    assert_eq!(changed.action(), arrived.action(), "another action under one signature");
    assert_eq!((other.nonce(), other.fresh_until(NOW)), (signed.nonce(), signed.fresh_until(NOW)));
    let read = |arrived: &Arrived| {
        let mut all = arrived.parameters().pairs();
        all.retain(|(name, _)| name != "Signature");
        all
    };
    assert_eq!(read(changed), read(arrived), "other parameters under one signature");
}

fn read(input: &[u8]) -> Option<(Request<'_>, Arrived)> {
    let end = input.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (&input[..end], &input[end + 2..]);
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut first = std::str::from_utf8(lines.next()?).ok()?.split(' ');
    let (method, target) = (first.next()?, first.next()?);
    if !matches!(method, "GET" | "POST") {
        return None; // Refused before anybody looks at a signature.
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some((std::str::from_utf8(&line[..colon]).ok()?, line[colon + 1..].trim_ascii()))
    });
    let request = Request { method, path, query: pairs(query.as_bytes()), headers: headers.collect(), body };
    // As it came: the pairs are written in one way of many.
    let arrived = Arrived::read(method, target, &request.headers, body)?;
    Some((request, arrived))
}

impl Request<'_> {
    fn arrives(&self) -> Option<Arrived> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.query).finish();
        Arrived::read(self.method, &format!("{}?{query}", self.path), &self.headers, self.body)
    }
}

/// What somebody on the way could make of a request.
fn others<'a>(request: &Request<'a>) -> Vec<Request<'a>> {
    let mut others = vec![request.clone()];
    let mut other = |change: &dyn Fn(&mut Request<'a>)| {
        let mut changed = request.clone();
        change(&mut changed);
        others.push(changed);
    };
    other(&|request| request.query.reverse());
    other(&|request| request.query.sort());
    other(&|request| request.method = if request.method == "GET" { "POST" } else { "GET" });
    other(&|request| request.query.push(("JobId".to_owned(), "another".to_owned())));
    other(&|request| request.query.insert(0, ("JobId".to_owned(), "another".to_owned())));
    other(&|request| request.body = b"JobId=another");
    other(&|request| request.headers.push(("content-type", b"application/x-www-form-urlencoded")));
    other(&|request| request.headers.push(("x-acs-action", b"DeleteProduct")));
    other(&|request| request.headers.insert(0, ("x-acs-action", b"DeleteProduct")));
    for at in 0..request.query.len().min(8) {
        other(&|request| {
            request.query.remove(at);
        });
    }
    for at in 0..request.headers.len().min(16) {
        other(&|request| {
            request.headers.remove(at);
        });
        other(&|request| request.headers[at].1 = b"text/plain");
    }
    others
}
