//! The rules of groups and modules.

use super::text::{free, given, name, required};
use super::{Code, Refusal};
use crate::expression::GroupExpression;
use crate::ids::{GroupId, ModuleName};

/// Devices in one call that fills or empties a group.
pub const GROUP_BATCH_MAX: usize = 200;

/// Characters of a description at most.
const DESC_MAX_CHARS: usize = 100;

/// `CreateDeviceGroup` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct GroupParams {
    pub group_name: Option<String>,
    pub group_desc: Option<String>,
    pub super_group_id: Option<String>,
}

/// A group to be made, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDraft {
    /// 4–30 characters.
    pub name: String,
    /// At most 100 characters.
    pub description: String,
    /// The group that it is to stand in.
    pub parent: Option<GroupId>,
}

/// `CreateDeviceDynamicGroup` as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct DynamicGroupParams {
    pub group_name: Option<String>,
    pub group_desc: Option<String>,
    pub dynamic_group_expression: Option<String>,
}

/// A dynamic group to be made, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DynamicGroupDraft {
    /// 4–30 characters.
    pub name: String,
    /// At most 100 characters.
    pub description: String,
    /// Who belongs to it.
    pub expression: GroupExpression,
}

impl GroupParams {
    /// Makes a valid group of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self) -> Result<GroupDraft, Refusal> {
        Ok(GroupDraft {
            name: group_name(self.group_name.as_ref())?,
            description: group_desc_if_given(self.group_desc.as_ref())?,
            parent: match given(self.super_group_id.as_ref()) {
                Some(text) => Some(name("SuperGroupId", Code::GroupNotFound, text, GroupId::parse)?),
                None => None,
            },
        })
    }
}

impl DynamicGroupParams {
    /// Makes a valid dynamic group of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule; of an expression also where it does.
    pub fn parse(&self) -> Result<DynamicGroupDraft, Refusal> {
        let parameter = "DynamicGroupExpression";
        Ok(DynamicGroupDraft {
            name: group_name(self.group_name.as_ref())?,
            description: group_desc_if_given(self.group_desc.as_ref())?,
            expression: GroupExpression::parse(required(parameter, self.dynamic_group_expression.as_ref())?)
                .map_err(|bad| {
                    let rule = format_args!("is no rule: {bad}");
                    Refusal::invalid(Code::InvalidParameter, parameter, rule)
                })?,
        })
    }
}

fn group_name(text: Option<&String>) -> Result<String, Refusal> {
    let text = required("GroupName", text)?;
    if text.chars().any(char::is_control) {
        let rule = "must not hold control characters";
        return Err(Refusal::invalid(Code::InvalidParameter, "GroupName", rule));
    }
    free("GroupName", Code::InvalidParameter, text, 4, 30)
}

fn group_desc_if_given(text: Option<&String>) -> Result<String, Refusal> {
    match given(text) {
        Some(text) => free("GroupDesc", Code::InvalidParameter, text, 1, DESC_MAX_CHARS),
        None => Ok(String::new()),
    }
}

/// The new description of a group.
///
/// # Errors
/// When it is missing or too long.
pub fn group_desc(text: Option<&String>) -> Result<String, Refusal> {
    free("GroupDesc", Code::InvalidParameter, required("GroupDesc", text)?, 1, DESC_MAX_CHARS)
}

/// `CreateOTAModule` and `UpdateOTAModule` as a face received them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct ModuleParams {
    pub product_key: Option<String>,
    pub module_name: Option<String>,
    pub alias_name: Option<String>,
    pub desc: Option<String>,
}

/// What is said of a module, valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleDraft {
    /// The module; not `default`.
    pub name: ModuleName,
    /// 1–64 characters for people.
    pub alias: Option<String>,
    /// At most 100 characters.
    pub description: Option<String>,
}

impl ModuleParams {
    /// Makes valid words about a module of them.
    ///
    /// # Errors
    /// Names the first parameter that breaks a rule.
    pub fn parse(&self) -> Result<ModuleDraft, Refusal> {
        let code = Code::InvalidParameter;
        Ok(ModuleDraft {
            name: own_module(self.module_name.as_ref())?,
            alias: given(self.alias_name.as_ref())
                .map(|text| free("AliasName", code, text, 1, 64))
                .transpose()?,
            description: self
                .desc
                .as_ref()
                .map(|text| free("Desc", code, text, 0, DESC_MAX_CHARS))
                .transpose()?,
        })
    }
}

/// A module that a product made itself.
///
/// # Errors
/// When none is named, or the text is no module name, or it is the one that is there always.
pub fn own_module(text: Option<&String>) -> Result<ModuleName, Refusal> {
    let module = required("ModuleName", text)?;
    let module = name("ModuleName", Code::InvalidParameter, module, ModuleName::parse)?;
    if module.as_str().eq_ignore_ascii_case(ModuleName::DEFAULT) {
        let rule = "must not be default: that module is always there and stays as it is";
        return Err(Refusal::invalid(Code::InvalidParameter, "ModuleName", rule));
    }
    Ok(module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_a_name_of_4_to_30_characters() {
        let params = |name: &str, desc: &str| GroupParams {
            group_name: Some(name.into()),
            group_desc: Some(desc.into()),
            super_group_id: None,
        };
        for good in ["room", "Räume 1", &"组".repeat(30)] {
            assert_eq!(params(good, "").parse().unwrap().name, good);
        }
        for bad in ["abc", &"x".repeat(31), "ro\nom"] {
            assert_eq!(params(bad, "").parse().unwrap_err().code_text(), "InvalidGroupName", "{bad}");
        }
        assert_eq!(params("", "").parse().unwrap_err().code_text(), "MissingGroupName");
        assert_eq!(params("room", &"x".repeat(101)).parse().unwrap_err().parameter, "GroupDesc");
        let parent = GroupParams { super_group_id: Some("?".into()), ..params("room", "") };
        assert_eq!(parent.parse().unwrap_err().parameter, "SuperGroupId");
        assert_eq!(group_desc(None).unwrap_err().code_text(), "MissingGroupDesc");
    }

    #[test]
    fn a_dynamic_group_says_where_its_rule_is_wrong() {
        let params = |rule: &str| DynamicGroupParams {
            group_name: Some("pumps".into()),
            group_desc: None,
            dynamic_group_expression: Some(rule.into()),
        };
        let good = r#"name like "pump%""#;
        assert_eq!(params(good).parse().unwrap().expression.as_str(), good);
        let bad = params("name ~ \"pump%\"").parse().unwrap_err();
        assert_eq!(bad.code_text(), "InvalidDynamicGroupExpression");
        assert!(bad.rule.contains("at character 6"), "{}", bad.rule);
        assert_eq!(params("").parse().unwrap_err().code_text(), "MissingDynamicGroupExpression");
        let short = DynamicGroupParams { group_name: Some("abc".into()), ..params(good) };
        assert_eq!(short.parse().unwrap_err().parameter, "GroupName");
    }

    #[test]
    fn a_module_is_named_and_is_not_the_default() {
        let params = |name: &str| ModuleParams { module_name: Some(name.into()), ..ModuleParams::default() };
        assert_eq!(params("mcu.1").parse().unwrap().name.as_str(), "mcu.1");
        for bad in ["", "default", "Default", "a b", &"x".repeat(65)] {
            assert_eq!(params(bad).parse().unwrap_err().parameter, "ModuleName", "{bad}");
        }
        let long = ModuleParams { alias_name: Some("x".repeat(65)), ..params("mcu") };
        assert_eq!(long.parse().unwrap_err().parameter, "AliasName");
        let long = ModuleParams { desc: Some("x".repeat(101)), ..params("mcu") };
        assert_eq!(long.parse().unwrap_err().parameter, "Desc");
    }
}
