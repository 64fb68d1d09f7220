//! `[broker]`: an MQTT broker that is not ours, to which devices are connected.
//!
//! Invariant: what is wrong with a URL is said without showing its password.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use super::Hidden;

/// The broker, as the file has it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BrokerSection {
    /// `mqtt://user:password@host:1883` or `mqtts://…:8883`; without it devices connect to this server.
    pub(crate) url: Option<Hidden>,
    /// PEM file of the authorities to trust with `mqtts` in place of the system's.
    pub(crate) root_certificates: Option<PathBuf>,
    /// The name of this server at the broker; `-up` and `-down` are appended.
    pub(crate) client_id: String,
    /// Minutes after which a device that says nothing counts as gone.
    pub(crate) silence_minutes: u32,
    /// Notices that the broker may leave unacknowledged.
    pub(crate) max_inflight: u16,
}

impl Default for BrokerSection {
    fn default() -> Self {
        Self {
            url: None,
            root_certificates: None,
            client_id: "otaria".into(),
            silence_minutes: 30,
            max_inflight: 100,
        }
    }
}

impl BrokerSection {
    /// What the URL says, if there is one.
    pub(crate) fn target(&self) -> anyhow::Result<Option<BrokerUrl>> {
        self.url.as_ref().map(BrokerUrl::parse).transpose()
    }

    /// Checks the whole section.
    pub(super) fn check(&self, allow_plaintext: bool) -> anyhow::Result<()> {
        let Some(target) = self.target()? else { return Ok(()) };
        if !target.tls && !target.is_loopback() && !allow_plaintext {
            bail!(
                "broker.url would send its password to {} without TLS, readable by the network: use mqtts://, \
                 or say --allow-plaintext where the network itself is trusted",
                target.host
            );
        }
        ensure!(target.tls || self.root_certificates.is_none(), "broker.root_certificates needs mqtts://");
        ensure!((1..=64).contains(&self.client_id.len()), "broker.client_id must have 1 to 64 bytes");
        ensure!(self.silence_minutes > 0, "broker.silence_minutes must not be 0");
        ensure!(self.max_inflight > 0, "broker.max_inflight must not be 0");
        Ok(())
    }
}

/// The parts of a broker's URL.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct BrokerUrl {
    /// Whether it is `mqtts`.
    pub(crate) tls: bool,
    /// Name or address.
    pub(crate) host: String,
    /// 1883 or 8883, if none is named.
    pub(crate) port: u16,
    /// As whom this server comes.
    pub(crate) user: String,
    /// And how it proves that.
    pub(crate) password: String,
}

impl std::fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerUrl")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl BrokerUrl {
    /// Reads a URL.
    ///
    /// User and password are needed: by them the broker tells this server, which may read and write the
    /// topics of all devices, from everybody else.
    pub(crate) fn parse(Hidden(text): &Hidden) -> anyhow::Result<Self> {
        const FORM: &str = "broker.url must be like mqtt://user:password@host:1883 or mqtts://…";
        let url = Url::parse(text).context(FORM)?;
        let tls = match url.scheme() {
            "mqtt" => false,
            "mqtts" => true,
            _ => bail!("{FORM}"),
        };
        let host = url.host_str().filter(|host| !host.is_empty()).context(FORM)?;
        ensure!(matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none(), FORM);
        let plain = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).context(FORM);
        let (user, password) = (plain(url.username())?, plain(url.password().unwrap_or_default())?);
        ensure!(!user.is_empty() && !password.is_empty(), "{FORM}: user and password are needed");
        ensure!(
            !user.contains(['&', ':']) && !user.contains(char::is_whitespace),
            "the user of broker.url must not hold `&`, by which devices are known, `:` or blanks"
        );
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(if tls { 8883 } else { 1883 }),
            user,
            password,
        })
    }

    /// The host's address, when it is named by that.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self.host.as_str() {
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            host => host.parse().ok(),
        }
    }

    fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<BrokerUrl> {
        BrokerUrl::parse(&Hidden(text.into()))
    }

    #[test]
    fn a_url_says_where_and_who() {
        let url = |tls, host: &str, port, password: &str| BrokerUrl {
            tls,
            host: host.into(),
            port,
            user: "otaria".into(),
            password: password.into(),
        };
        assert_eq!(parse("mqtt://otaria:s@h").unwrap(), url(false, "h", 1883, "s"));
        assert_eq!(parse("mqtts://otaria:s@h/").unwrap(), url(true, "h", 8883, "s"));
        assert_eq!(parse("mqtt://otaria:a%40b%2Fc@[::1]:99").unwrap(), url(false, "::1", 99, "a@b/c"));
    }

    #[test]
    fn a_url_without_a_user_or_with_more_than_a_place_is_refused_and_not_shown() {
        for text in [
            "mqtt://h",
            "mqtt://otaria@h",
            "mqtt://:hunter2@h",
            "mqtt://a&b:hunter2@h",
            "http://otaria:hunter2@h",
            "mqtt://otaria:hunter2@h/topic",
            "mqtt://otaria:hunter2@h?x=1",
            "otaria:hunter2@h",
            "mqtt://otaria:hunter2@",
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains("broker.url") && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_goes_beyond_this_machine_with_tls_only() {
        let section = |url: &str| BrokerSection { url: Some(Hidden(url.into())), ..BrokerSection::default() };
        section("mqtt://o:s@127.0.0.1").check(false).unwrap();
        section("mqtt://o:s@localhost").check(false).unwrap();
        section("mqtts://o:s@far").check(false).unwrap();
        section("mqtt://o:s@far").check(true).unwrap();
        let error = section("mqtt://o:s@far").check(false).unwrap_err();
        assert!(error.to_string().contains("--allow-plaintext"), "{error}");
    }
}
