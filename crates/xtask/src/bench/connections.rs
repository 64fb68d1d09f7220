//! What a connected device costs the gateways: their memory before and after all devices came, by the number of devices.
//!
//! The devices are those of `otaria fleet`, which prove who they are and inform their version; each of its processes
//! has one gateway, since no process here may open enough sockets for all.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};

use super::{Common, rounded};
use crate::clock::now;
use crate::cluster::{Cluster, Crew, Fleets, Role, Shape, Size, text};
use crate::process::memory_kib;

#[derive(Debug, Args)]
pub(crate) struct ConnectionsArgs {
    /// Devices, spread evenly over the gateways.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    devices: usize,
    /// Gateways, and as many processes full of devices.
    #[arg(long, value_name = "N", default_value_t = 6)]
    gateways: usize,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(root: &Path, args: &ConnectionsArgs) -> Result<Value> {
    let plain = measure(root, args, false)?;
    let tls = measure(root, args, true)?;
    Ok(json!({ "devices": args.devices, "gateways": args.gateways, "plain": plain, "tls": tls }))
}

fn measure(root: &Path, args: &ConnectionsArgs, tls: bool) -> Result<Value> {
    let common = &args.common;
    let name = if tls { "connections-tls" } else { "connections" };
    let shape = Shape::Apart(Size { apis: 1, dispatchers: 1, gateways: args.gateways });
    let mut settings = common.settings(root, name, shape)?;
    std::fs::create_dir_all(&settings.folder)?;
    settings.folder = settings.folder.canonicalize()?;
    let folder = settings.folder.clone();
    let mut authority = None;
    if tls {
        let (config, certificate) = certificate(&folder)?;
        settings.options.extend(["--config".to_owned(), config]);
        authority = Some(certificate);
    }
    let mut cluster = Cluster::start(settings, None)?;
    let grpc = cluster.grpc().into_iter().next().context("no process serves gRPC")?;
    common.say(&format!("{name}: registering {} devices", args.devices));
    let operator = cluster.operator.clone();
    let product_key =
        text(&operator.call(&grpc, &["product", "create", "bench_connections"])?, "product_key")?;
    let (count, out) = (args.devices.to_string(), folder.join("devices.csv"));
    let out_text = out.to_str().context("the folder's name is not UTF-8")?;
    let register = ["device", "register", "--product", &product_key, "--prefix", "dev-", "--out", out_text];
    operator.run(&grpc, &[&register[..], &["--count", &count]].concat())?;

    let before = gateways_kib(&cluster)?;
    common.say(&format!("{name}: connecting"));
    let begun = now();
    let gateways = if tls { cluster.mqtt_tls() } else { cluster.mqtt() };
    ensure!(gateways.len() == args.gateways, "{} gateways of {} listen", gateways.len(), args.gateways);
    let crew = Crew {
        operator: &operator,
        product_key: &product_key,
        names_and_secrets: &std::fs::read_to_string(&out)?,
        gateways: &gateways,
        processes: args.gateways,
        one_gateway_each: true,
        authority: authority.as_deref(),
        work_ms: 0,
        seed: common.seed,
    };
    let mut fleets = Fleets::start(&folder, &crew)?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = gateways_kib(&cluster)?;
    let online = fleets.record()?.online();
    ensure!(online == args.devices, "{online} of {} devices are online", args.devices);
    fleets.end()?;
    cluster.stop()?;

    let grown = f64::from(u32::try_from(after.saturating_sub(before))?);
    let devices = f64::from(u32::try_from(args.devices)?);
    Ok(json!({
        "online": online,
        "connect_seconds": rounded(seconds),
        "kib_per_device": rounded(grown / devices),
        "gateways_idle_mib": rounded(f64::from(u32::try_from(before)?) / 1_024.0),
        "gateways_connected_mib": rounded(f64::from(u32::try_from(after)?) / 1_024.0),
    }))
}

/// The memory of all gateways now, a moment after what was needed for logins only was given back.
fn gateways_kib(cluster: &Cluster) -> Result<u64> {
    std::thread::sleep(std::time::Duration::from_secs(3));
    let gateways = cluster.members.iter().filter(|member| member.role == Role::Gateway);
    let kib = gateways.map(|member| memory_kib(member.process.pid, "VmRSS").context("a gateway is gone"));
    kib.sum()
}

/// A certificate for loopback, and a config file that turns TLS on: their paths.
fn certificate(folder: &Path) -> Result<(String, std::path::PathBuf)> {
    let name = IpAddr::from(Ipv4Addr::LOCALHOST).to_string();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name])?;
    let (certificate, key, config) =
        (folder.join("tls.pem"), folder.join("tls.key"), folder.join("tls.toml"));
    std::fs::write(&certificate, cert.pem())?;
    std::fs::write(&key, signing_key.serialize_pem())?;
    let text = toml::toml! {
        [mqtt]
        tls_listen = "127.0.0.1:0"
    };
    let mut text = text;
    if let Some(mqtt) = text.get_mut("mqtt").and_then(toml::Value::as_table_mut) {
        let path = |path: &Path| path.to_str().map(str::to_owned).context("the folder's name is not UTF-8");
        mqtt.insert("tls_certificate".to_owned(), path(&certificate)?.into());
        mqtt.insert("tls_key".to_owned(), path(&key)?.into());
    }
    std::fs::write(&config, text.to_string())?;
    Ok((config.to_str().context("the folder's name is not UTF-8")?.to_owned(), certificate))
}
