//! MQTT read and written from the text of the standards alone: plain, slow, and with nothing of the product.

/// A CONNECT as the standards lay it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Connect<'a> {
    pub(crate) is_v5: bool,
    pub(crate) keep_alive: u16,
    pub(crate) client_id: &'a [u8],
    pub(crate) user_name: Option<&'a [u8]>,
    pub(crate) password: Option<&'a [u8]>,
    /// Bytes behind the last field.
    pub(crate) rest: &'a [u8],
}

fn byte<'a>(from: &mut &'a [u8]) -> Option<&'a u8> {
    from.split_off_first()
}

fn number(from: &mut &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*byte(from)?, *byte(from)?]))
}

/// A length of one to four bytes.
fn length(from: &mut &[u8]) -> Option<usize> {
    let mut length = 0;
    for place in 0..4 {
        let next = *byte(from)?;
        length += usize::from(next & 0x7f) << (7 * place);
        if next < 0x80 {
            return Some(length);
        }
    }
    None
}

/// What stands behind its own length of two bytes.
fn field<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number(from)?;
    from.split_off(..usize::from(length))
}

/// Reads a whole CONNECT of 3.1, 3.1.1 or 5.0.
pub(crate) fn connect(mut packet: &[u8]) -> Option<Connect<'_>> {
    let from = &mut packet;
    if *byte(from)? != 0x10 || length(from)? != from.len() {
        return None;
    }
    let is_v5 = match (field(from)?, *byte(from)?) {
        (b"MQIsdp", 3) | (b"MQTT", 4) => false,
        (b"MQTT", 5) => true,
        _ => return None,
    };
    let flags = *byte(from)?;
    let keep_alive = number(from)?;
    let properties = |from: &mut &[u8]| {
        let length = if is_v5 { length(from)? } else { 0 };
        from.split_off(..length).map(drop)
    };
    properties(from)?;
    let client_id = field(from)?;
    if flags & 0x04 != 0 {
        properties(from)?;
        let (_topic, _message) = (field(from)?, field(from)?);
    }
    let user_name = if flags & 0x80 == 0 { None } else { Some(field(from)?) };
    let password = if flags & 0x40 == 0 { None } else { Some(field(from)?) };
    Some(Connect { is_v5, keep_alive, client_id, user_name, password, rest: from })
}

/// Writes a CONNECT with a clean session.
pub(crate) fn write_connect(
    is_v5: bool,
    keep_alive: u16,
    client_id: &str,
    user_name: &str,
    password: &[u8],
) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([if is_v5 { 5 } else { 4 }, 0xc2]);
    body.extend(keep_alive.to_be_bytes());
    body.extend(is_v5.then_some(0));
    for field in [client_id.as_bytes(), user_name.as_bytes(), password] {
        body.extend(u16::try_from(field.len()).expect("inputs are shorter").to_be_bytes());
        body.extend(field);
    }
    let mut packet = vec![0x10];
    let mut length = body.len();
    while length > 0x7f {
        packet.push(0x80 | u8::try_from(length & 0x7f).expect("seven bits"));
        length >>= 7;
    }
    packet.push(u8::try_from(length).expect("seven bits"));
    packet.extend(body);
    packet
}

/// Whether a text is a filter: wildcards stand alone in their level, and a hash in the last one.
pub(crate) fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let last = levels.len() - 1;
    let fits = |(at, level): (usize, &&str)| match *level {
        "+" => true,
        "#" => at == last,
        other => !other.contains(['+', '#']),
    };
    levels.iter().enumerate().all(fits)
}

/// Whether a filter matches a topic, by the plain rule.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(wanted), Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
}
