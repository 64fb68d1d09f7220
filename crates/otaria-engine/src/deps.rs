//! What commands and loops work with.

use std::sync::Arc;

use otaria_core::link::LinkKey;
use otaria_core::rules::Limits;
use otaria_core::vault::Vault;
use otaria_ports::bus::Bus;
use otaria_ports::ids::Ids;
use otaria_ports::objects::Objects;
use otaria_ports::pace::Pace;
use otaria_ports::presence::Presence;
use otaria_ports::pusher::Pusher;
use otaria_ports::store::Store;

/// The ports, the keys and the limits; shared by everything in the engine.
#[derive(Clone)]
pub struct Deps {
    /// Facts.
    pub store: Arc<dyn Store>,
    /// Packages and list files.
    pub objects: Arc<dyn Objects>,
    /// Who is online.
    pub presence: Arc<dyn Presence>,
    /// The way to devices.
    pub pusher: Arc<dyn Pusher>,
    /// Tokens.
    pub pace: Arc<dyn Pace>,
    /// Wake-ups.
    pub bus: Arc<dyn Bus>,
    /// Chance.
    pub ids: Arc<dyn Ids>,
    /// Seals secrets.
    pub vault: Vault,
    /// Signs download links.
    pub link_key: LinkKey,
    /// Where devices reach the HTTP face: `http://host:port`, without a slash at the end.
    pub download_base: Arc<str>,
    /// What an operator may have lifted.
    pub limits: Limits,
}
