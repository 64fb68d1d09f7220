//! Where Redis is, read from one URL.
//!
//! Never shows a password: neither `Debug` nor an error holds the URL.

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// How to reach Redis, and under which names to keep things there.
#[derive(Clone)]
pub struct RedisConfig {
    /// One of
    ///
    /// - `redis://[user:password@]host[:6379][/db]`, and `rediss://…` with TLS;
    /// - `unix:///path/to/socket[?db=1&pass=…]`;
    /// - `redis+sentinel://[user:password@]host[:26379][,host…]/master[/db]`, `rediss+sentinel://…`;
    /// - `redis+cluster://[user:password@]host[:6379][,host…]`, `rediss+cluster://…`.
    ///
    /// User and password may be percent-encoded. The sentinels themselves are asked without a password.
    pub url: String,
    /// What every key and channel begins with: two clusters of Otaria on one Redis need two of them.
    pub prefix: String,
    /// How long an answer may take; after it the connection is given up.
    pub command_timeout: Duration,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// PEM of the authorities to trust with TLS in place of the system's.
    pub root_certificates: Option<Vec<u8>>,
}

impl RedisConfig {
    /// The usual: the prefix `otaria`, a second for an answer, two for a connection.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "otaria".to_owned(),
            command_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(2),
            root_certificates: None,
        }
    }
}

impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisConfig").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// Why a configuration cannot be used. Says the rule and nothing of the URL, which holds a password.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(pub(crate) &'static str);

/// Where commands go.
#[derive(Clone)]
pub(crate) enum Target {
    One(ConnectionInfo),
    Sentinel { sentinels: Vec<ConnectionAddr>, master: String, tls: bool, login: Login, db: i64 },
    Cluster { nodes: Vec<ConnectionInfo> },
}

#[derive(Clone, Default)]
pub(crate) struct Login {
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
}

const PREFIX_RULE: BadConfig =
    BadConfig("the key prefix must be 1-32 letters, digits, `-`, `_` or `.` (braces would move hash tags)");
const URL_RULE: BadConfig = BadConfig(
    "the Redis URL must be redis://…, rediss://…, unix://…, redis+sentinel://…/master or redis+cluster://…",
);
const SENTINEL_RULE: BadConfig = BadConfig(
    "a sentinel URL must be redis+sentinel://[user:password@]host[:port][,host[:port]…]/master[/db]",
);

impl RedisConfig {
    pub(crate) fn target(&self) -> Result<Target, BadConfig> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !(1..=32).contains(&self.prefix.len()) || !self.prefix.chars().all(plain) {
            return Err(PREFIX_RULE);
        }
        let (scheme, rest) = self.url.split_once("://").ok_or(URL_RULE)?;
        match scheme {
            "redis+sentinel" => sentinel(rest, false),
            "rediss+sentinel" => sentinel(rest, true),
            "redis+cluster" => cluster(rest, "redis"),
            "rediss+cluster" => cluster(rest, "rediss"),
            "redis" | "rediss" | "unix" => Ok(Target::One(info(&self.url)?)),
            _ => Err(URL_RULE),
        }
    }
}

/// One server's address by the library's own reading of URLs.
fn info(url: &str) -> Result<ConnectionInfo, BadConfig> {
    url.into_connection_info().map_err(|_| URL_RULE)
}

fn cluster(rest: &str, scheme: &str) -> Result<Target, BadConfig> {
    let rest = rest.trim_end_matches('/');
    let (login, hosts) = rest.rsplit_once('@').map_or((String::new(), rest), |(l, h)| (format!("{l}@"), h));
    let nodes: Result<Vec<_>, _> =
        hosts.split(',').map(|host| info(&format!("{scheme}://{login}{host}"))).collect();
    Ok(Target::Cluster { nodes: nodes? })
}

fn sentinel(rest: &str, tls: bool) -> Result<Target, BadConfig> {
    let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
    let mut parts = rest.split('/');
    let hosts = parts.next().ok_or(SENTINEL_RULE)?;
    let master = parts.next().filter(|name| !name.is_empty()).ok_or(SENTINEL_RULE)?.to_owned();
    let db = match parts.next() {
        None | Some("") => 0,
        Some(db) => db.parse().map_err(|_| SENTINEL_RULE)?,
    };
    // The library's reading of a URL also decodes user and password.
    let with_login = info(&format!("redis://{}{}", login, if login.is_empty() { "x" } else { "@x" }))?;
    let settings = with_login.redis_settings();
    let login = Login {
        user: settings.username().map(str::to_owned),
        password: settings.password().map(str::to_owned),
    };
    let scheme = if tls { "rediss" } else { "redis" };
    let address = |host: &str| {
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:26379") };
        info(&format!("{scheme}://{host}")).map(|info| info.addr().clone()).map_err(|_| SENTINEL_RULE)
    };
    let sentinels: Result<Vec<_>, _> = hosts.split(',').map(address).collect();
    Ok(Target::Sentinel { sentinels: sentinels?, master, tls, login, db })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target, BadConfig> {
        RedisConfig::new(url).target()
    }

    #[test]
    fn a_sentinel_url_names_sentinels_login_master_and_database() {
        let Ok(Target::Sentinel { sentinels, master, tls, login, db }) =
            target("rediss+sentinel://me:p%40ss@a,b:7000/mymaster/3")
        else {
            panic!("not read");
        };
        let shown: Vec<_> = sentinels.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["a:26379", "b:7000"]);
        assert_eq!((master.as_str(), tls, db), ("mymaster", true, 3));
        assert_eq!((login.user.as_deref(), login.password.as_deref()), (Some("me"), Some("p@ss")));
    }

    #[test]
    fn a_cluster_url_names_nodes_that_share_a_login() {
        let Ok(Target::Cluster { nodes }) = target("redis+cluster://:secret@a:7001,b:7002") else {
            panic!("not read");
        };
        assert_eq!(nodes.len(), 2);
        assert!(nodes.iter().all(|node| node.redis_settings().password() == Some("secret")));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_showing_the_password() {
        for url in
            ["", "localhost", "http://:secret@a", "redis+sentinel://:secret@a", "redis://:secret@a:b:c"]
        {
            let Err(refused) = target(url) else { panic!("{url}") };
            assert!(!refused.to_string().contains("secret"));
        }
        let config =
            RedisConfig { prefix: "a{b}".to_owned(), ..RedisConfig::new("redis://:secret@localhost") };
        assert!(config.target().is_err());
        assert!(!format!("{config:?}").contains("secret"));
    }
}
