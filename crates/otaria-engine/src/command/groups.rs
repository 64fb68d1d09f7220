//! Groups: static ones, which are lists, and dynamic ones, which are rules.

mod dynamic;
mod members;

pub use dynamic::{DynamicMember, DynamicMemberParams, DynamicPlace};
pub use members::{AddedDevices, MemberParams, MemberView, TakenDevices};

use otaria_core::expression::GroupExpression;
use otaria_core::ids::{GroupId, GroupNo};
use otaria_core::rules::{Code, GroupParams, Refusal, group_desc};
use otaria_core::time::Timestamp;
use otaria_ports::store::{Group, GroupFilter, Job, NewGroup, Role, SourceKind, StoreError};

use super::{Caller, Commands, Listed};
use crate::error::CommandError;

/// Letters and digits of a group's id.
const ID_CHARS: usize = 16;
/// `GroupType` of static groups, as the API spells it, and of dynamic ones.
const STATIC: &str = "LINK_PLATFORM";
const DYNAMIC: &str = "LINK_PLATFORM_DYNAMIC";

/// Which groups to list, as a face received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the parameter of its name")]
pub struct GroupListParams {
    pub group_name: Option<String>,
    pub group_types: Vec<String>,
    pub super_group_id: Option<String>,
}

/// A group, with what can be counted of its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// The group.
    pub group: Group,
    /// Devices in it.
    pub devices: u64,
    /// Have connected at least once.
    pub active: u64,
    /// Are connected.
    pub online: u64,
}

impl Commands {
    /// CreateDeviceGroup.
    ///
    /// # Errors
    /// `GroupNameExisted`, `GroupNotFound` for the one around it, or the rule that a parameter breaks.
    pub async fn create_group(
        &self,
        caller: &Caller,
        now: Timestamp,
        params: &GroupParams,
    ) -> Result<Group, CommandError> {
        caller.needs(Role::Operator)?;
        let draft = params.parse()?;
        let parent = match &draft.parent {
            Some(id) => Some(self.own_static_group(caller, "SuperGroupId", id.as_str()).await?.no),
            None => None,
        };
        let new = NewGroup {
            id: self.new_group_id()?,
            account: caller.account,
            name: draft.name,
            description: draft.description,
            parent,
            expression: None,
        };
        self.make_group(&new, now).await
    }

    fn new_group_id(&self) -> Result<GroupId, CommandError> {
        GroupId::parse(&self.deps().ids.text(ID_CHARS)).map_err(|bad| CommandError::Internal(Box::new(bad)))
    }

    async fn make_group(&self, new: &NewGroup, now: Timestamp) -> Result<Group, CommandError> {
        self.deps().store.create_group(new, now).await.map_err(|error| match error {
            StoreError::Exists { .. } => {
                CommandError::not_allowed(Code::GroupNameExisted, "a group of this name exists already")
            }
            other => gone(other),
        })
    }

    /// UpdateDeviceGroup: its description.
    ///
    /// # Errors
    /// `GroupNotFound`, a type that is not the group's, or the rule that the description breaks.
    pub async fn update_group(
        &self,
        caller: &Caller,
        group_id: &str,
        group_type: Option<&String>,
        desc: Option<&String>,
    ) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let description = group_desc(desc)?;
        let group = self.own_group(caller, "GroupId", group_id).await?;
        expect_type(&group, group_type)?;
        self.deps().store.describe_group(group.no, &description).await.map_err(gone)
    }

    /// DeleteDeviceGroup. Jobs made from it go on with the devices, or the rule, that it had.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub async fn delete_group(&self, caller: &Caller, group_id: &str) -> Result<(), CommandError> {
        caller.needs(Role::Operator)?;
        let group = self.own_group(caller, "GroupId", group_id).await?;
        self.deps().store.delete_group(group.no).await.map_err(gone)
    }

    /// QueryDeviceGroupInfo. The devices of a dynamic group are counted by looking at every device of the
    /// products that its rule leaves open.
    ///
    /// # Errors
    /// `GroupNotFound`, or a type that is not the group's.
    pub async fn query_group(
        &self,
        caller: &Caller,
        group_id: &str,
        group_type: Option<&String>,
    ) -> Result<GroupView, CommandError> {
        let group = self.own_group(caller, "GroupId", group_id).await?;
        expect_type(&group, group_type)?;
        if let Some(rule) = &group.new.expression {
            let (devices, active, online) = self.count_members(caller, rule).await?;
            return Ok(GroupView { group, devices, active, online });
        }
        let active = self.deps().store.active_in_group(group.no).await?;
        let online = self.online_in_group(group.no).await?;
        Ok(GroupView { devices: group.device_count, group, active, online })
    }

    /// QueryDeviceGroupList: newest first, made before `before`, then without the first `skip`, at most
    /// `limit`.
    ///
    /// # Errors
    /// `GroupNotFound` for the one around them, or a type that is none.
    pub async fn list_groups(
        &self,
        caller: &Caller,
        params: &GroupListParams,
        before: Option<GroupNo>,
        skip: usize,
        limit: usize,
    ) -> Result<Listed<Group, GroupNo>, CommandError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let parent = match given(&params.super_group_id) {
            Some(id) => Some(self.own_group(caller, "SuperGroupId", &id).await?.no),
            None => None,
        };
        let dynamic = wanted_types(&params.group_types)?;
        let filter = GroupFilter { name: given(&params.group_name), parent, dynamic };
        let (rows, total) =
            self.deps().store.groups(caller.account, &filter, before, skip, limit + 1).await?;
        Ok(Listed::cut(rows, total, limit, |last| last.no))
    }

    /// The caller's group of this id; `parameter` is what names it.
    pub(super) async fn own_group(
        &self,
        caller: &Caller,
        parameter: &str,
        id: &str,
    ) -> Result<Group, CommandError> {
        if id.is_empty() {
            return Err(Refusal::missing(parameter, "").into());
        }
        let not_found = || {
            let rule = format!("names no group of this account: {id:.64}");
            CommandError::from(Refusal::invalid(Code::GroupNotFound, parameter, rule))
        };
        // A text that is no id cannot be that of a group.
        let id = GroupId::parse(id).map_err(|_| not_found())?;
        self.deps().store.group(caller.account, &id).await?.ok_or_else(not_found)
    }

    /// The caller's static group of this id.
    pub(super) async fn own_static_group(
        &self,
        caller: &Caller,
        parameter: &str,
        id: &str,
    ) -> Result<Group, CommandError> {
        let group = self.own_group(caller, parameter, id).await?;
        if group.new.expression.is_some() {
            let rule = "names a dynamic group, whose devices follow from its rule; this needs a static one";
            return Err(Refusal::invalid(Code::InvalidParameter, parameter, rule).into());
        }
        Ok(group)
    }

    /// The caller's dynamic group of this id, and its rule.
    pub(super) async fn own_dynamic_group(
        &self,
        caller: &Caller,
        parameter: &str,
        id: &str,
    ) -> Result<(Group, GroupExpression), CommandError> {
        let group = self.own_group(caller, parameter, id).await?;
        match group.new.expression.clone() {
            Some(expression) => Ok((group, expression)),
            None => {
                let rule = "names a static group, which is a list of devices; this needs a dynamic one";
                Err(Refusal::invalid(Code::InvalidParameter, parameter, rule).into())
            }
        }
    }

    /// The name of the group that a job is for, while there is one.
    pub(super) async fn group_name(&self, job: &Job) -> Result<Option<String>, CommandError> {
        match (&job.source, &job.new.target) {
            (
                SourceKind::Group { .. } | SourceKind::Standing { group: Some(_), .. },
                otaria_core::job::Target::Group { group_id },
            ) => {
                let Ok(id) = GroupId::parse(group_id) else { return Ok(None) };
                let group = self.deps().store.group(job.account, &id).await?;
                Ok(group.map(|group| group.new.name))
            }
            _ => Ok(None),
        }
    }
}

/// A call may say of which type it believes the group to be.
fn expect_type(group: &Group, group_type: Option<&String>) -> Result<(), CommandError> {
    let is = if group.new.expression.is_some() { DYNAMIC } else { STATIC };
    match group_type.map(String::as_str) {
        None | Some("") => Ok(()),
        Some(believed) if believed == is => Ok(()),
        Some(_) => {
            let rule = format!("must be {is}: that is the type of this group");
            Err(Refusal::invalid(Code::InvalidParameter, "GroupType", rule).into())
        }
    }
}

/// Whether only dynamic groups are wanted, or only static ones; `None` for both, which no type means too.
fn wanted_types(types: &[String]) -> Result<Option<bool>, CommandError> {
    for (n, kind) in (1..).zip(types) {
        if kind != STATIC && kind != DYNAMIC {
            let rule = format!("must be {STATIC} or {DYNAMIC}");
            return Err(Refusal::invalid(Code::InvalidParameter, format!("GroupTypes.{n}"), rule).into());
        }
    }
    let wants = |wanted: &str| types.iter().any(|kind| kind == wanted);
    Ok(match (wants(STATIC), wants(DYNAMIC)) {
        (false, true) => Some(true),
        (true, false) => Some(false),
        (true, true) | (false, false) => None,
    })
}

/// What the store says of a group that was deleted since it was read.
fn gone(error: StoreError) -> CommandError {
    match error {
        StoreError::NotFound { .. } => {
            CommandError::not_allowed(Code::GroupNotFound, "the group was deleted")
        }
        other => other.into(),
    }
}
