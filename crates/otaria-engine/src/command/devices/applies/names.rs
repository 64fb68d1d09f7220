//! Which names a device can have.

use std::collections::BTreeSet;

use otaria_core::rules::{DeviceDraft, DeviceParams, Refusal};
use otaria_ports::store::{ApplyName, RefusedName};

/// Characters that are kept of a text that is refused.
const SHOWN_CHARS: usize = 64;

/// Why a name was refused, in short.
const TWICE: &str = "the name stands in the call more than once";
const TAKEN: &str = "the product has a device of this name already";

/// What is wrong with a name that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFault {
    /// No device can have it.
    Name,
    /// No device can have the nickname.
    Nickname,
    /// It stands in the call twice, or a device has it.
    Repeated,
}

/// Names that a device can have, each once; and those that none can have, or that came twice.
pub(super) fn sort_out(names: &[DeviceParams]) -> (Vec<ApplyName>, Vec<(NameFault, RefusedName)>) {
    let (mut accepted, mut refused, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for params in names {
        let refuse = |reason: &str| RefusedName {
            name: shown(params.device_name.as_ref()).unwrap_or_default(),
            nickname: shown(params.nickname.as_ref()),
            reason: reason.to_owned(),
        };
        match params.parse() {
            Ok(DeviceDraft { name: Some(name), nickname }) if seen.insert(name.clone()) => {
                accepted.push(ApplyName { name, nickname });
            }
            Ok(DeviceDraft { name: Some(_), .. }) => refused.push((NameFault::Repeated, refuse(TWICE))),
            Ok(DeviceDraft { name: None, .. }) => {
                refused.push((NameFault::Name, refuse(&Refusal::missing("DeviceName", "").rule)));
            }
            Err(refusal) if refusal.parameter == "Nickname" => {
                refused.push((NameFault::Nickname, refuse(&refusal.rule)));
            }
            Err(refusal) => refused.push((NameFault::Name, refuse(&refusal.rule))),
        }
    }
    (accepted, refused)
}

fn shown(text: Option<&String>) -> Option<String> {
    Some(text?.chars().filter(|c| *c != '\0').take(SHOWN_CHARS).collect())
}

/// A name that a device has already.
pub(super) fn taken(name: ApplyName) -> RefusedName {
    RefusedName { name: name.name.to_string(), nickname: name.nickname, reason: TAKEN.to_owned() }
}
