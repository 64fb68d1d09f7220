//! What the processes count about themselves: the violations of their invariants, which must be none.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::world::Installation;

const PATIENCE: Duration = Duration::from_secs(10);

/// The counter that must stay 0, and its label follows.
const VIOLATIONS: &str = "otaria_invariant_violations_total";

/// Asks every process of an installation. Returns how many counters there were, and those that are not 0.
pub(super) fn violations(installation: &Installation) -> Result<(u64, Vec<String>)> {
    let (mut counters, mut found) = (0, Vec::new());
    let hub = installation.cluster.networks.as_ref().map(crate::cluster::Networks::hub);
    for member in &installation.cluster.members {
        let Some(address) = member.at.http else { continue };
        let name = &member.process.name;
        let page = within(hub, || get(address)).with_context(|| format!("the metrics of {name}"))?;
        for line in page.lines().filter(|line| line.starts_with(VIOLATIONS)) {
            counters += 1;
            if !line.ends_with(" 0") {
                found.push(format!("{} {name} counted {line}", installation.world.name()));
            }
        }
    }
    Ok((counters, found))
}

/// Does something in a network namespace: in a thread of its own, since a thread is what lives in one.
fn within<T: Send>(namespace: Option<&str>, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let inside = || {
        if let Some(namespace) = namespace {
            let door = std::fs::File::open(Path::new("/run/netns").join(namespace))?;
            move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network))?;
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(inside).join()).map_err(|_| anyhow!("the thread panicked"))?
}

fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "answered {:?}", answer.lines().next());
    Ok(answer)
}
