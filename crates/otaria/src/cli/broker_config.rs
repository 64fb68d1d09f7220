//! `otaria broker-config`: what an MQTT broker that holds the devices has to know of them.
//!
//! Never speaks to a server: the devices are read from a file that has their secrets.
//!
//! Invariant: a device is allowed what it may do at our own door (`otaria_core::door`), and nothing else.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use otaria_core::door::ConnectClaim;

use super::mosquitto::{Device, Layout, Tls, write_access, write_config, write_password};
use super::{Usage, output};
use crate::config::{BrokerUrl, Hidden};
use crate::fleet::{Identity, SignMethod, read_identities};
use crate::ids::SystemIds;
use crate::keyfile::private;

#[derive(Debug, Subcommand)]
pub(crate) enum BrokerConfigCommand {
    /// Mosquitto 2: its configuration, a password file and an access list
    #[command(after_help = HELP)]
    Mosquitto(MosquittoArgs),
}

const HELP: &str = "\
When this works: a device's password is an HMAC over its client id and timestamp, and a password file holds one
password for each device. So all devices have to send the client id and the timestamp that are named here at every
login, as kits with a constant timestamp do. Where they do not, let the broker ask at each login instead: any process
of `otaria serve --broker URL` answers at /mqtt/auth and /mqtt/acl (EMQX; Mosquitto with mosquitto-go-auth).
Devices that are registered, deleted or disabled later are neither let in nor shut out by themselves: run this again
and send Mosquitto a SIGHUP. Names with a colon cannot stand in a password file.

Examples:
  export OTARIA_BROKER_URL=mqtt://otaria:$(openssl rand -hex 16)@127.0.0.1:1883
  otaria device register --product a1B2c3D4e5F --count 500 --prefix sim- --out sim.csv
  otaria broker-config mosquitto --devices sim.csv --product-key a1B2c3D4e5F --timestamp 2524608000000 \\
      --upper-case --out /etc/mosquitto/otaria
  mosquitto -c /etc/mosquitto/otaria/mosquitto.conf
  otaria serve --mqtt 127.0.0.1:1884
  otaria fleet --names-file sim.csv --product-key a1B2c3D4e5F --kit c --subscribe --mqtt 127.0.0.1:1883";

#[derive(Debug, Args)]
pub(crate) struct MosquittoArgs {
    /// The devices: `name,secret` a line, as `otaria device register --out` writes them
    #[arg(long, value_name = "CSV")]
    devices: PathBuf,
    /// The product of the devices
    #[arg(long, value_name = "KEY")]
    product_key: String,
    /// How the devices sign
    #[arg(long, value_enum, default_value_t = SignMethod::HmacSha256)]
    sign_method: SignMethod,
    /// The timestamp that all devices send, always; none if they send none
    #[arg(long, value_name = "DIGITS")]
    timestamp: Option<String>,
    /// What the devices' client ids have before the first bar
    #[arg(long, value_name = "FORM", default_value = "{ProductKey}.{DeviceName}")]
    client_id_form: String,
    /// The devices write the digits of the password in upper case
    #[arg(long)]
    upper_case: bool,
    /// The broker as `otaria serve --broker` has it; user and password of the server are taken from it
    #[arg(long, env = "OTARIA_BROKER_URL", value_name = "URL", hide_env_values = true)]
    broker: Hidden,
    /// Where Mosquitto is to listen [default: host and port of the URL, when the host is an address]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Mosquitto's certificate chain, with an mqtts URL
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Mosquitto's private key
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// As whom Mosquitto goes on when root starts it [default: its own user]
    #[arg(long, value_name = "USER")]
    run_as: Option<String>,
    /// The folder to write to; files of an earlier run are replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the command.
pub(super) fn run(command: &BrokerConfigCommand) -> anyhow::Result<()> {
    match command {
        BrokerConfigCommand::Mosquitto(args) => mosquitto(args),
    }
}

fn mosquitto(args: &MosquittoArgs) -> anyhow::Result<()> {
    let url = BrokerUrl::parse(&args.broker)?;
    let listen = listen(args, &url)?;
    let tls = match (&args.tls_certificate, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Some(Tls { certificate: absolute(certificate)?, key: absolute(key)? })
        }
        _ => None,
    };
    if url.tls != tls.is_some() {
        return Err(Usage(
            "an mqtts URL needs --tls-certificate and --tls-key, and they need an mqtts URL".into(),
        )
        .into());
    }
    let identities = read_identities(&args.devices, None)?;
    let mut devices = Vec::with_capacity(identities.len());
    for identity in &identities {
        let made = device(args, identity);
        devices.push(made.with_context(|| format!("device {}", identity.name))?);
    }

    fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    let out = absolute(&args.out)?;
    let layout = Layout { folder: &out, listen, tls: tls.as_ref(), run_as: args.run_as.as_deref() };
    put(&layout.passwords(), |file| {
        write_password(file, &SystemIds, &url.user, &url.password, true)?;
        devices
            .iter()
            .try_for_each(|device| write_password(file, &SystemIds, &device.user(), &device.password, false))
    })?;
    put(&layout.access(), |file| write_access(file, &url.user, &devices))?;
    put(&layout.config(), |file| write_config(file, &layout))?;
    output::line(&format!(
        "{} devices may come to Mosquitto at {listen}, and {} as Otaria's own client.\n\
         Mosquitto's user has to be able to read {out}: chown -R mosquitto: {out}\n\
         Start it: mosquitto -c {}",
        devices.len(),
        url.user,
        layout.config().display(),
        out = out.display(),
    ))
}

fn listen(args: &MosquittoArgs, url: &BrokerUrl) -> anyhow::Result<SocketAddr> {
    let of_url = || url.ip().map(|ip| SocketAddr::new(ip, url.port));
    args.listen.or_else(of_url).ok_or_else(|| {
        let why = format!("{} is a name: say by --listen on which address Mosquitto is to listen", url.host);
        Usage(why).into()
    })
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    ensure!(!path.to_string_lossy().contains(['\n', '\r']), "a path of a configuration is one line");
    Ok(path)
}

/// The login of a device, by the rules of our own door.
fn device(args: &MosquittoArgs, Identity { name, secret, .. }: &Identity) -> anyhow::Result<Device> {
    if name.contains(':') {
        bail!("a password file cannot hold a name with a colon; let the broker ask /mqtt/auth instead");
    }
    let id = args.client_id_form.replace("{ProductKey}", &args.product_key).replace("{DeviceName}", name);
    let timestamp = args.timestamp.iter().map(|text| format!(",timestamp={text}")).collect::<String>();
    let client_id = format!("{id}|signmethod={}{timestamp}|", args.sign_method.name());
    let claim = ConnectClaim::parse(&client_id, &format!("{name}&{}", args.product_key))?;
    let mut password = claim.password(secret.as_bytes());
    if args.upper_case {
        password.make_ascii_uppercase();
    }
    let (product_key, device_name) = (claim.product_key.to_string(), claim.device_name.to_string());
    Ok(Device { product_key, device_name, password })
}

/// Writes a file that only its owner reads. One of an earlier run stays whole until the new one is.
fn put(path: &Path, write: impl FnOnce(&mut BufWriter<fs::File>) -> io::Result<()>) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let fresh = path.with_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = private(OpenOptions::new().write(true).create_new(true)).open(&fresh)?;
        let mut file = BufWriter::new(file);
        write(&mut file)?;
        file.into_inner()?.sync_all()?;
        fs::rename(&fresh, path)
    };
    written().with_context(|| format!("writing {}", path.display()))
}
