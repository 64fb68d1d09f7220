//! The files of a Mosquitto 2 that holds devices: configuration, passwords, access list.
//!
//! Invariant: a line holds one thing. What comes from outside (names, keys, users) was parsed before, and holds
//! neither blanks nor ends of lines.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::Hmac;
use otaria_core::door::{Downlink, Own};
use otaria_ports::ids::Ids;
use sha2::Sha512;

/// Mosquitto's own number. A device's password is a digest under a drawn secret: nobody guesses it, however
/// fast the guessing is.
const ROUNDS: u32 = 101;
/// For the one password that a person may have thought up.
const ROUNDS_CHOSEN: u32 = 20_000;
/// Mosquitto reads salts of this length only.
const SALT_BYTES: usize = 12;
const HASH_BYTES: usize = 64;

/// A device that may come in.
pub(super) struct Device {
    pub(super) product_key: String,
    pub(super) device_name: String,
    /// As it sends it.
    pub(super) password: String,
}

impl Device {
    pub(super) fn user(&self) -> String {
        format!("{}&{}", self.device_name, self.product_key)
    }

    /// What it may publish.
    fn writes(&self) -> [String; 4] {
        let Self { product_key: pk, device_name: dn, .. } = self;
        [
            format!("/ota/device/inform/{pk}/{dn}"),
            format!("/ota/device/progress/{pk}/{dn}"),
            format!("/sys/{pk}/{dn}/thing/ota/firmware/get"),
            format!("/sys/{pk}/{dn}/thing/file/download"),
        ]
    }

    /// What it may read.
    fn reads(&self) -> impl Iterator<Item = String> {
        let own = Own { product_key: &self.product_key, device_name: &self.device_name };
        DOWN.into_iter().map(move |downlink| downlink.topic(own))
    }
}

/// What is sent to devices.
const DOWN: [Downlink; 3] = [Downlink::Upgrade, Downlink::GetReply, Downlink::DownloadReply];

/// A certificate chain and its key.
pub(super) struct Tls {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Where everything is.
pub(super) struct Layout<'a> {
    pub(super) folder: &'a Path,
    pub(super) listen: SocketAddr,
    pub(super) tls: Option<&'a Tls>,
    pub(super) run_as: Option<&'a str>,
}

impl Layout<'_> {
    pub(super) fn config(&self) -> PathBuf {
        self.folder.join("mosquitto.conf")
    }

    pub(super) fn passwords(&self) -> PathBuf {
        self.folder.join("passwords")
    }

    pub(super) fn access(&self) -> PathBuf {
        self.folder.join("access")
    }
}

/// Writes `mosquitto.conf`.
pub(super) fn write_config(out: &mut impl Write, layout: &Layout<'_>) -> io::Result<()> {
    writeln!(out, "# Written by `otaria broker-config mosquitto`, which replaces it.")?;
    writeln!(out, "listener {} {}", layout.listen.port(), layout.listen.ip())?;
    if let Some(Tls { certificate, key }) = layout.tls {
        writeln!(out, "certfile {}\nkeyfile {}", certificate.display(), key.display())?;
    }
    if let Some(user) = layout.run_as {
        writeln!(out, "user {user}")?;
    }
    writeln!(out, "allow_anonymous false")?;
    writeln!(out, "password_file {}", layout.passwords().display())?;
    writeln!(out, "acl_file {}", layout.access().display())?;
    writeln!(
        out,
        "# Otaria's client takes this many words of devices side by side, and leaves as many notices unacknowledged\n\
         # as [broker] max_inflight says.\n\
         max_inflight_messages 256\n\
         # Words of devices (QoS 1) that are kept while Otaria is away.\n\
         max_queued_messages 100000\n\
         # To keep them over a restart of Mosquitto as well, name a folder that its user may write to:\n\
         # persistence true\n\
         # persistence_location /var/lib/mosquitto/"
    )
}

/// Writes a line of the password file.
pub(super) fn write_password(
    out: &mut impl Write,
    ids: &dyn Ids,
    user: &str,
    password: &str,
    is_chosen: bool,
) -> io::Result<()> {
    let mut salt = [0; SALT_BYTES];
    ids.fill(&mut salt);
    let rounds = if is_chosen { ROUNDS_CHOSEN } else { ROUNDS };
    writeln!(out, "{user}:{}", hashed(password, salt, rounds))
}

/// `$7$`: PBKDF2 with HMAC-SHA-512.
fn hashed(password: &str, salt: [u8; SALT_BYTES], rounds: u32) -> String {
    let mut hash = [0; HASH_BYTES];
    // HMAC takes keys of any length.
    pbkdf2::pbkdf2::<Hmac<Sha512>>(password.as_bytes(), &salt, rounds, &mut hash)
        .expect("an HMAC key of any length");
    format!("$7${rounds}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
}

/// Writes the access list: a section for Otaria's own client, and one for each device.
pub(super) fn write_access(out: &mut impl Write, bridge: &str, devices: &[Device]) -> io::Result<()> {
    // The topics of a device whose names are wildcards.
    let any = Device { product_key: "+".into(), device_name: "+".into(), password: String::new() };
    writeln!(out, "# Who is not named here may do nothing.\nuser {bridge}")?;
    for topic in any.writes() {
        writeln!(out, "topic read {topic}")?;
    }
    for topic in any.reads() {
        writeln!(out, "topic write {topic}")?;
    }
    for device in devices {
        writeln!(out, "\nuser {}", device.user())?;
        for topic in device.writes() {
            writeln!(out, "topic write {topic}")?;
        }
        for topic in device.reads() {
            writeln!(out, "topic read {topic}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use otaria_core::door::{Downlinks, Uplink};

    use super::*;

    fn device() -> Device {
        Device { product_key: "a1pk".into(), device_name: "dev_1".into(), password: "p".into() }
    }

    #[test]
    fn a_password_is_hashed_as_mosquitto_passwd_does() {
        let salt = STANDARD.decode("3cUpbh/Dh50Dj0Sc").unwrap().try_into().unwrap();
        assert_eq!(
            hashed("bridge secret", salt, 101),
            "$7$101$3cUpbh/Dh50Dj0Sc$TqHprJ5HcRMYfYP8NAzjVJa2RjdUj7kUyE5mVJCZqlciU2/dvWhnwPBesrW0SBstbvdmlq1bfg+ViWfLQ48l8A=="
        );
    }

    #[test]
    fn what_a_device_may_do_is_what_our_own_door_understands() {
        let own = Own { product_key: "a1pk", device_name: "dev_1" };
        let uplinks: Vec<_> = device().writes().iter().map(|topic| own.publishes(topic).unwrap()).collect();
        assert_eq!(uplinks, [Uplink::Inform, Uplink::Progress, Uplink::FirmwareGet, Uplink::FileDownload]);
        let device = device();
        let granted = device.reads().map(|topic| own.subscribes(&topic).unwrap());
        assert_eq!(granted.fold(Downlinks::NONE, |set, more| set | more), Downlinks::AUTOMATIC);
    }

    #[test]
    fn each_device_has_a_section_with_its_own_topics_only() {
        let mut text = Vec::new();
        write_access(&mut text, "otaria", &[device()]).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (bridge, devices) = text.split_once("\n\n").unwrap();
        assert!(bridge.contains("user otaria\ntopic read /ota/device/inform/+/+\n"), "{bridge}");
        assert!(bridge.ends_with("topic write /sys/+/+/thing/file/download_reply"), "{bridge}");
        let mut lines = devices.lines();
        assert_eq!(lines.next(), Some("user dev_1&a1pk"));
        assert!(lines.clone().count() == 7 && lines.all(|line| line.contains("/a1pk/dev_1")), "{devices}");
    }
}
