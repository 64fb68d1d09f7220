//! Which server a command speaks to, with which access key, and how it shows what it heard.

use std::path::PathBuf;

use clap::Args;

use crate::keyfile::{self, AccessKey};
use crate::remote::Remote;

#[derive(Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct LinkArgs {
    /// The server's gRPC address
    #[arg(
        long,
        global = true,
        env = "OTARIA_ENDPOINT",
        value_name = "URL",
        default_value = "http://127.0.0.1:50051"
    )]
    endpoint: String,
    /// Certificates to trust with https:// [default: the system's]
    #[arg(long, global = true, env = "OTARIA_TLS_CA", value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Id of the access key [default: from the server's data directory]
    #[arg(
        long,
        global = true,
        env = "OTARIA_ACCESS_KEY_ID",
        value_name = "ID",
        requires = "access_key_secret"
    )]
    access_key_id: Option<String>,
    /// Secret of the access key; better given by the environment
    #[arg(
        long,
        global = true,
        env = "OTARIA_ACCESS_KEY_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        requires = "access_key_id"
    )]
    access_key_secret: Option<String>,
    /// Data directory of a server on this machine, for its access key
    #[arg(long, global = true, env = "OTARIA_DATA_DIR", value_name = "DIR", default_value = "./otaria-data")]
    data_dir: PathBuf,
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
}

impl LinkArgs {
    /// Connects to the server.
    pub(super) async fn connect(&self) -> anyhow::Result<Remote> {
        Remote::connect(&self.endpoint, self.tls_ca.as_deref(), &self.key()?).await
    }

    fn key(&self) -> anyhow::Result<AccessKey> {
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.access_key_secret) {
            return Ok(AccessKey { id: id.clone(), secret: secret.clone() });
        }
        let path = keyfile::path_in(&self.data_dir);
        keyfile::read(&path).map_err(|error| {
            anyhow::anyhow!(
                "no access key: {} cannot be read ({error})\n  name the server's data directory with --data-dir, or set OTARIA_ACCESS_KEY_ID and OTARIA_ACCESS_KEY_SECRET",
                path.display()
            )
        })
    }
}
