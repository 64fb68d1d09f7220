//! The rules of `ModifyOTAFirmware`.

use super::super::text::{given, name};
use super::super::{Code, Refusal};
use super::optional_text;
use crate::firmware::FirmwareName;

/// `ModifyOTAFirmware` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct FirmwareChangeParams {
    pub product_key: Option<String>,
    pub firmware_name: Option<String>,
    pub firmware_desc: Option<String>,
    pub firmware_udi: Option<String>,
}

/// What becomes of a firmware's words, valid by construction; `None` leaves them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirmwareChange {
    /// Unique in the account.
    pub name: Option<FirmwareName>,
    /// At most 100 characters.
    pub description: Option<String>,
    /// Free text for devices, at most 4096 characters.
    pub udi: Option<String>,
}

impl FirmwareChangeParams {
    /// Makes a valid change of them. An empty name counts as absent; an empty description or UDI empties it.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self) -> Result<FirmwareChange, Refusal> {
        let words = |parameter, text: &Option<String>, max| match text {
            Some(_) => optional_text(parameter, text.as_ref(), max).map(Some),
            None => Ok(None),
        };
        Ok(FirmwareChange {
            name: match given(self.firmware_name.as_ref()) {
                Some(text) => Some(name("FirmwareName", Code::InvalidParameter, text, FirmwareName::parse)?),
                None => None,
            },
            description: words("FirmwareDesc", &self.firmware_desc, 100)?,
            udi: words("FirmwareUdi", &self.firmware_udi, 4096)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_stays_and_what_is_empty_is_emptied() {
        let params = FirmwareChangeParams { firmware_desc: Some(String::new()), ..Default::default() };
        let change = params.parse().unwrap();
        assert_eq!(change, FirmwareChange { description: Some(String::new()), ..Default::default() });
        let named = FirmwareChangeParams { firmware_name: Some("fw-2".into()), ..Default::default() };
        assert_eq!(named.parse().unwrap().name.unwrap().as_str(), "fw-2");
    }

    #[test]
    fn the_rules_are_those_of_making_it() {
        let of = FirmwareChangeParams::default;
        for (params, parameter) in [
            (FirmwareChangeParams { firmware_name: Some("-fw".into()), ..of() }, "FirmwareName"),
            (FirmwareChangeParams { firmware_desc: Some("x".repeat(101)), ..of() }, "FirmwareDesc"),
            (FirmwareChangeParams { firmware_udi: Some("x".repeat(4_097)), ..of() }, "FirmwareUdi"),
        ] {
            assert_eq!(params.parse().unwrap_err().parameter, parameter);
        }
    }
}
