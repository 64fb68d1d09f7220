//! The rules of every parameter: raw requests in, values that cannot be wrong out.
//!
//! Never asks the store: what depends on a firmware is in [`fits`], what depends on devices and groups is
//! checked where they are read.
//!
//! Invariant: each rule has one home here, and both faces go through it. An empty text counts as absent,
//! since some callers send the parameters that they do not use.

mod code;
mod device;
mod firmware;
mod group;
mod job;
mod task;
mod text;

pub use code::{Class, Code};
pub use device::{
    Announced, DeviceDraft, DeviceParams, PACKAGE_SUFFIXES, ProductDraft, ProductParams, UploadParams,
    account_name, device_name, product_key,
};
pub use firmware::{FirmwareChange, FirmwareChangeParams, FirmwareParams, MultiFileParams};
pub use group::{
    DynamicGroupDraft, DynamicGroupParams, GROUP_BATCH_MAX, GroupDraft, GroupParams, ModuleDraft,
    ModuleParams, group_desc, own_module,
};
pub use job::{
    DynamicUpgradeParams, JobParams, MQTT_MAX_BYTES, NewDynamicJob, Package, StaticUpgradeParams, TagParams,
    UpdateJobParams, VerifyParams, fits,
};
pub use task::{BulkParams, device_names, task_ids};

use std::borrow::Cow;
use std::fmt;

use crate::list::ListLimits;

/// Characters of a URL at most, whoever issued it.
const URL_MAX_CHARS: usize = 1_024;

/// Whether a parameter is absent or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is required and absent.
    Missing,
    /// It is there and breaks a rule.
    Invalid,
}

/// Why a request is refused: one parameter, one rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct Refusal {
    /// The parameter as the seed spells it, with its place in a list, counted from 1: `SrcVersion.3`,
    /// `Tag.2.Key`.
    pub parameter: String,
    /// A sentence that names the parameter, the rule, and the value that bounds it.
    pub rule: String,
    /// Absent or wrong.
    pub kind: Kind,
    /// The code for callers.
    pub code: Code,
}

impl Refusal {
    /// A required parameter that is absent. `when` says in which case it is required, with a blank before
    /// it, or is empty.
    #[must_use]
    pub fn missing(parameter: impl Into<String>, when: &str) -> Self {
        let parameter = parameter.into();
        let rule = format!("{parameter} is mandatory for this action{when}.");
        Self { parameter, rule, kind: Kind::Missing, code: Code::MissingParameter }
    }

    /// A parameter that breaks a rule: `{parameter} {rule}.` makes the sentence.
    #[must_use]
    pub fn invalid(code: Code, parameter: impl Into<String>, rule: impl fmt::Display) -> Self {
        let parameter = parameter.into();
        Self { rule: format!("{parameter} {rule}."), parameter, kind: Kind::Invalid, code }
    }

    /// The code as callers see it: of the two general ones, with the parameter's name in it.
    #[must_use]
    pub fn code_text(&self) -> Cow<'static, str> {
        let name = self.parameter.split('.').next().unwrap_or_default();
        match self.code {
            Code::MissingParameter => Cow::Owned(format!("Missing{name}")),
            Code::InvalidParameter => Cow::Owned(format!("Invalid{name}")),
            code => Cow::Borrowed(code.as_str()),
        }
    }
}

/// The limits that an operator may move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest `MaximumPerMinute`; `None` lifts it.
    pub maximum_per_minute_ceiling: Option<u32>,
    /// How large a device list file may be.
    pub list: ListLimits,
    /// Bytes of one package file at most.
    pub firmware_max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_per_minute_ceiling: Some(10_000),
            list: ListLimits::default(),
            firmware_max_bytes: 1_000 * 1024 * 1024,
        }
    }
}
