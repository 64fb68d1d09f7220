//! One method per action. gRPC and HTTP are two thin faces over it, and neither holds a rule.
//!
//! Every method takes who asks and when. Another account's things are not found.

mod access;
mod bulk;
mod devices;
mod dynamic;
mod firmwares;
mod groups;
mod job_lists;
mod jobs;
mod modules;
mod orders;
mod page;
mod products;
mod secrets;
mod tasks;
mod unfinished;
mod update;
mod uploads;

pub use access::NewAccessKey;
pub use devices::{
    APPLY_MAX, AppliedDevice, ApplyStatus, ApplyView, CheckedNames, DeviceRef, DeviceState,
    DeviceStatesParams, DeviceStatus, DeviceView, NameFault, REGISTER_MAX, RefusedDevice, RegisteredDevice,
};
pub use dynamic::dynamic_mode;
pub use firmwares::{FirmwareListParams, FirmwareView, sign_of};
pub use groups::{
    AddedDevices, DynamicMember, DynamicMemberParams, DynamicPlace, GroupListParams, GroupView, MemberParams,
    MemberView, TakenDevices,
};
pub use jobs::{JobHead, JobView, NewJobAnswer};
pub use orders::CancelByDeviceParams;
pub use page::Listed;
pub use products::ProductView;
pub use tasks::TaskList;
pub use unfinished::{UnfinishedParams, UnfinishedTask};
pub use uploads::{IssuedUpload, UploadSink};

use otaria_core::ids::{AccessKeyId, AccountNo};
use otaria_ports::store::Role;

use std::sync::Arc;

use crate::deps::Deps;
use crate::error::CommandError;
use crate::shell::Shell;

/// Who gives a command; authenticated by the face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountNo,
    /// The key that was used.
    pub key: AccessKeyId,
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// Lets pass who has at least this role.
    ///
    /// # Errors
    /// `Denied`, naming both roles.
    pub fn needs(&self, role: Role) -> Result<(), CommandError> {
        if self.role >= role {
            return Ok(());
        }
        Err(CommandError::Denied { role: self.role.as_str(), needed: role.as_str() })
    }
}

/// The actions.
#[derive(Clone)]
pub struct Commands {
    shell: Arc<Shell>,
}

impl Commands {
    /// Commands over what the process shares.
    #[must_use]
    pub const fn new(shell: Arc<Shell>) -> Self {
        Self { shell }
    }

    /// The ports, for faces that stream what a command named.
    #[must_use]
    pub fn deps(&self) -> &Deps {
        &self.shell.deps
    }
}
