//! `otaria migrate`: the schema of a shared database, brought up to date before new processes start.

use crate::config::Hidden;

/// Which database.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  otaria migrate --store postgres://otaria@db.example/otaria
  OTARIA_STORE_URL=postgres://… otaria migrate

Safe to repeat, and safe while the version before is running: a migration only adds; what it makes needless
goes with the next one.")]
pub(crate) struct MigrateArgs {
    /// The database, as `postgres://user:password@host/database`.
    #[arg(long, env = "OTARIA_STORE_URL", value_name = "URL", hide_env_values = true)]
    store: Hidden,
}

/// Migrates; says so.
pub(crate) async fn run(args: &MigrateArgs) -> anyhow::Result<()> {
    otaria_store::migrate(&args.store.0).await?;
    super::output::line("the schema is up to date")?;
    Ok(())
}
