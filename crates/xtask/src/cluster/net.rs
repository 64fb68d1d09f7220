//! Networks of our own for partitions: a hub in which everything lives but the dispatchers (and the gateways, where
//! there are nodes for them), and one network for each of them, joined to the hub by a wire.
//!
//! Never touches the machine's own network: all links, addresses and rules are inside namespaces made here, and
//! go with them.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::process::{program, run};
use crate::services;

/// The hub's address; the dispatchers have those after `.10`.
const HUB: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);

/// What the names of our namespaces begin with; the number of our process follows.
const PREFIX: &str = "otaria-";

/// A hub and its nodes. Dropping it removes them.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Networks {
    hub: String,
    nodes: Vec<String>,
}

impl Networks {
    /// Makes a hub with so many nodes.
    pub(crate) fn make(nodes: usize) -> Result<Self> {
        let may = rustix::process::geteuid().is_root();
        ensure!(may, "network namespaces need root: repeat this as root, or leave out what cuts networks");
        let missing: Vec<&str> = [("ip", "iproute2"), ("nft", "nftables")]
            .into_iter()
            .filter_map(|(name, package)| program(name).is_none().then_some(package))
            .collect();
        if !missing.is_empty() {
            services::install(&missing)?;
        }

        for left in run(Command::new("ip").args(["netns", "list"]))?.lines().filter(|line| is_left(line)) {
            // Another command may be doing the same.
            let _ = ip(&["netns", "delete", left.split(' ').next().unwrap_or_default()]);
        }
        let hub = hub_name();
        let mut networks = Self { nodes: Vec::new(), hub };
        ip(&["netns", "add", &networks.hub])?;
        let within = ["-n", networks.hub.as_str()];
        ip(&[&within[..], &["link", "set", "lo", "up"]].concat())?;
        ip(&[&within[..], &["link", "add", "hub", "type", "bridge"]].concat())?;
        ip(&[&within[..], &["address", "add", &format!("{HUB}/24"), "dev", "hub"]].concat())?;
        ip(&[&within[..], &["link", "set", "hub", "up"]].concat())?;
        for place in 0..nodes {
            networks.add(place)?;
        }
        Ok(networks)
    }

    fn add(&mut self, place: usize) -> Result<()> {
        let (node, wire) = (format!("{}-{place}", self.hub), format!("wire{place}"));
        ip(&["netns", "add", &node])?;
        self.nodes.push(node.clone());
        let (hub, address) = (self.hub.as_str(), format!("{}/24", address(place)));
        ip(&["-n", hub, "link", "add", &wire, "type", "veth", "peer", "name", "wire", "netns", &node])?;
        ip(&["-n", hub, "link", "set", &wire, "master", "hub", "up"])?;
        ip(&["-n", &node, "address", "add", &address, "dev", "wire"])?;
        ip(&["-n", &node, "link", "set", "wire", "up"])?;
        ip(&["-n", &node, "link", "set", "lo", "up"])
    }

    pub(crate) fn hub(&self) -> &str {
        &self.hub
    }

    /// The hub's address.
    #[expect(clippy::unused_self, reason = "there is no such address without networks")]
    pub(crate) const fn hub_address(&self) -> IpAddr {
        IpAddr::V4(HUB)
    }

    /// Whether there are as many nodes.
    pub(crate) const fn has(&self, nodes: usize) -> bool {
        self.nodes.len() >= nodes
    }

    /// The network of a dispatcher or a gateway, and its address in it.
    pub(crate) fn node(&self, place: usize) -> Result<(&str, IpAddr)> {
        let node = self.nodes.get(place).context("there is no such network")?;
        Ok((node, address(place)))
    }

    /// From now on nothing passes between a node and this port of the hub, in either direction.
    pub(crate) fn cut(&self, place: usize, port: u16) -> Result<()> {
        nft(self.node(place)?.0, &rules(port))
    }

    /// Lets everything pass again.
    pub(crate) fn heal(&self, place: usize) -> Result<()> {
        nft(self.node(place)?.0, "delete table inet cut\n")
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for name in self.nodes.iter().chain([&self.hub]) {
            // One that could not be made cannot be removed.
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// What the names of all our namespaces begin with.
pub(crate) fn hub_name() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// Whether this line of the list of namespaces is one of ours whose command was killed.
fn is_left(line: &str) -> bool {
    let pid = line.strip_prefix(PREFIX).and_then(|rest| rest.split(['-', ' ']).next()?.parse::<u32>().ok());
    pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

fn address(place: usize) -> IpAddr {
    let last = u8::try_from(10 + place).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, last))
}

/// Packets are dropped, not refused: a cut wire says nothing.
fn rules(port: u16) -> String {
    format!(
        "table inet cut {{\n\
         chain out {{ type filter hook output priority 0; ip daddr {HUB} tcp dport {port} drop; }}\n\
         chain in {{ type filter hook input priority 0; ip saddr {HUB} tcp sport {port} drop; }}\n\
         }}\n"
    )
}

fn ip(args: &[&str]) -> Result<()> {
    run(Command::new("ip").args(args)).map(drop)
}

fn nft(namespace: &str, rules: &str) -> Result<()> {
    let mut nft = Command::new("ip");
    nft.args(["netns", "exec", namespace, "nft", "--file", "-"]).stdin(Stdio::piped());
    let mut child = nft.spawn().context("cannot run nft")?;
    child.stdin.take().context("nft has no input")?.write_all(rules.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "nft in {namespace} failed: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_names_the_hub_and_the_port_in_both_directions() {
        let rules = rules(5432);
        assert!(rules.contains("ip daddr 10.77.0.1 tcp dport 5432 drop"));
        assert!(rules.contains("ip saddr 10.77.0.1 tcp sport 5432 drop"));
    }

    #[test]
    fn only_namespaces_of_commands_that_are_gone_are_left_over() {
        assert!(is_left("otaria-4294967295-1 (id: 3)") && is_left("otaria-4294967295"));
        let ours = format!("otaria-{}-0 (id: 1)", std::process::id());
        for other in [ours.as_str(), "otaria-gateway", "cni-4294967295", ""] {
            assert!(!is_left(other), "{other}");
        }
    }

    #[test]
    fn nodes_have_addresses_of_their_own() {
        assert_eq!(address(0).to_string(), "10.77.0.10");
        assert_ne!(address(0), address(1));
    }
}
