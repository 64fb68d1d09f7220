//! `otaria group`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use otaria_proto::v1::{
    BatchAddDeviceGroupRelationsRequest, BatchDeleteDeviceGroupRelationsRequest,
    CreateDeviceDynamicGroupRequest, CreateDeviceGroupRequest, DeleteDeviceGroupRequest, DeviceRef,
    GroupType, QueryDeviceGroupInfoRequest, QueryDeviceGroupListRequest, QueryDeviceListByDeviceGroupRequest,
    QueryDynamicGroupDevicesRequest, UpdateDeviceGroupRequest,
};
use tonic::Code;

use super::device::names_of_file;
use super::link::LinkArgs;
use super::output::{Table, facts, instant, json_line, line, word};
use crate::remote::{answer, explain};

/// Devices of one call: as many as the API takes.
const BATCH: usize = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Make a group
    #[command(after_help = "Examples:\n  otaria group create 'Hall 3' --description 'Machines in hall 3'")]
    Create {
        /// 4 to 30 characters
        name: String,
        /// What the group is
        #[arg(long)]
        description: Option<String>,
        /// The group that it stands in
        #[arg(long, value_name = "ID")]
        within: Option<String>,
    },
    /// Make a dynamic group: whoever matches a rule is in it
    #[command(after_help = "\
Examples:
  otaria group create-dynamic Pumps 'name like \"pump-%\"'
  otaria group create-dynamic 'East or west' 'product_key = \"a1B2c3D4e5F\" and name in (\"x1-east\", \"x1-west\")'")]
    CreateDynamic {
        /// 4 to 30 characters
        name: String,
        /// product_key and name, compared with = != in like; joined by and, or, not and parentheses
        rule: String,
        /// What the group is
        #[arg(long)]
        description: Option<String>,
    },
    /// List groups, newest first
    #[command(after_help = "Examples:\n  otaria group list --name Hall")]
    List {
        /// Only groups whose name begins so
        #[arg(long)]
        name: Option<String>,
    },
    /// Tell everything about a group
    #[command(after_help = "Examples:\n  otaria group show GROUP_ID")]
    Show {
        /// The group
        id: String,
    },
    /// Give a group another description
    #[command(after_help = "Examples:\n  otaria group describe GROUP_ID 'Machines of hall 3'")]
    Describe {
        /// The group
        id: String,
        /// What it is
        description: String,
    },
    /// Add devices to a group
    #[command(after_help = "\
Examples:
  otaria group add GROUP_ID --product a1B2c3D4e5F pump-0001 pump-0002
  otaria group add GROUP_ID --product a1B2c3D4e5F --file names.txt")]
    Add(MemberArgs),
    /// Take devices out of a group
    #[command(after_help = "Examples:\n  otaria group remove GROUP_ID --product a1B2c3D4e5F pump-0001")]
    Remove(MemberArgs),
    /// List the devices of a group, whatever its kind
    #[command(after_help = "Examples:\n  otaria group devices GROUP_ID")]
    Devices {
        /// The group
        id: String,
    },
    /// Delete a group; its devices stay
    #[command(after_help = "Examples:\n  otaria group delete GROUP_ID")]
    Delete {
        /// The group
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["names", "file"]))]
pub(crate) struct MemberArgs {
    /// The group
    id: String,
    /// The product of the devices
    #[arg(long, value_name = "KEY")]
    product: String,
    /// Names of devices
    names: Vec<String>,
    /// A file with a name on each line
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn run(command: GroupCommand, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    match command {
        GroupCommand::Create { name, description, within } => {
            let request = CreateDeviceGroupRequest {
                group_name: name,
                group_desc: description,
                super_group_id: within,
            };
            let group = answer(client.create_device_group(request)).await?;
            if link.json {
                return json_line("CreateDeviceGroupResponse", &group);
            }
            line(&format!("group {} is made\n", group.group_name))?;
            facts(&[("id", group.group_id)])
        }
        GroupCommand::CreateDynamic { name, rule, description } => {
            let request = CreateDeviceDynamicGroupRequest {
                group_name: name,
                group_desc: description,
                dynamic_group_expression: rule,
            };
            let group = answer(client.create_device_dynamic_group(request)).await?;
            if link.json {
                return json_line("CreateDeviceDynamicGroupResponse", &group);
            }
            line(&format!("group {} is made\n", group.group_name))?;
            facts(&[("id", group.group_id)])
        }
        GroupCommand::List { name } => list(name, link).await,
        GroupCommand::Show { id } => show(id, link).await,
        GroupCommand::Describe { id, description } => {
            let request =
                UpdateDeviceGroupRequest { group_id: id, group_desc: description, ..Default::default() };
            answer(client.update_device_group(request)).await.map(drop)
        }
        GroupCommand::Add(args) => add(args, link).await,
        GroupCommand::Remove(args) => remove(args, link).await,
        GroupCommand::Devices { id } => devices(id, link).await,
        GroupCommand::Delete { id } => {
            answer(client.delete_device_group(DeleteDeviceGroupRequest { group_id: id })).await.map(drop)
        }
    }
}

async fn list(name: Option<String>, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let mut request = QueryDeviceGroupListRequest { group_name: name, ..Default::default() };
    let mut table = Table::new(&["ID", "NAME", "KIND", "DESCRIPTION", "CREATED"]);
    loop {
        let page = answer(client.query_device_group_list(request.clone())).await?;
        for group in &page.groups {
            if link.json {
                json_line("GroupInfo", group)?;
                continue;
            }
            table.row([
                group.group_id.clone(),
                group.group_name.clone(),
                if group.group_type() == GroupType::LinkPlatformDynamic { "rule" } else { "list" }.to_owned(),
                group.group_desc.clone().unwrap_or_default(),
                instant(group.utc_create.as_ref()),
            ]);
        }
        if !link.json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn show(id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let request = QueryDeviceGroupInfoRequest { group_id: id, ..Default::default() };
    let group = answer(link.connect().await?.devices().query_device_group_info(request)).await?;
    if link.json {
        return json_line("QueryDeviceGroupInfoResponse", &group);
    }
    facts(&[
        ("id", group.group_id.clone()),
        ("name", group.group_name.clone()),
        ("description", group.group_desc.clone().unwrap_or_default()),
        ("rule", group.dynamic_group_expression.clone().unwrap_or_default()),
        ("devices", group.device_count.to_string()),
        ("ever online", group.device_active.to_string()),
        ("online", group.device_online.to_string()),
        ("created", instant(group.utc_create.as_ref())),
    ])
}

/// The devices of a list, or those that follow from a rule.
async fn devices(id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let mut request =
        QueryDeviceListByDeviceGroupRequest { group_id: id, page_size: Some(1_000), ..Default::default() };
    let mut table = Table::new(&["PRODUCT", "NAME", "ID"]);
    loop {
        let page = match client.query_device_list_by_device_group(request.clone()).await {
            Ok(page) => page.into_inner(),
            // The group is the only thing that is named: it is of the other kind.
            Err(status) if status.code() == Code::InvalidArgument => {
                return dynamic_devices(request.group_id, link).await;
            }
            Err(status) => return Err(explain(&status)),
        };
        for device in &page.devices {
            if link.json {
                json_line("SimpleDeviceInfo", device)?;
                continue;
            }
            table.row([device.product_key.clone(), device.device_name.clone(), device.iot_id.clone()]);
        }
        if !link.json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

async fn dynamic_devices(id: String, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let mut request =
        QueryDynamicGroupDevicesRequest { group_id: id, page_size: Some(1_000), ..Default::default() };
    let mut table = Table::new(&["PRODUCT", "NAME", "STATUS", "ID"]);
    loop {
        let page = answer(client.query_dynamic_group_devices(request.clone())).await?;
        for device in &page.devices {
            if link.json {
                json_line("DynamicGroupDevice", device)?;
                continue;
            }
            table.row([
                device.product_key.clone(),
                device.device_name.clone(),
                word(device.status().as_str_name(), "DEVICE_STATUS_"),
                device.iot_id.clone(),
            ]);
        }
        if !link.json {
            table.print()?;
        }
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// The devices that are meant, in calls' worths.
fn batches(args: &MemberArgs) -> anyhow::Result<Vec<Vec<DeviceRef>>> {
    let names = match &args.file {
        Some(path) => names_of_file(path)?,
        None => args.names.clone(),
    };
    let device = |name: &String| DeviceRef { product_key: args.product.clone(), device_name: name.clone() };
    Ok(names.chunks(BATCH).map(|part| part.iter().map(device).collect()).collect())
}

async fn add(args: MemberArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let (mut added, mut already, mut exceeding, mut unknown) = (0, 0, 0, 0);
    for device in batches(&args)? {
        let asked = i32::try_from(device.len())?;
        let request = BatchAddDeviceGroupRelationsRequest { group_id: args.id.clone(), device };
        let done = answer(client.batch_add_device_group_relations(request)).await?;
        if link.json {
            json_line("BatchAddDeviceGroupRelationsResponse", &done)?;
        }
        added += done.success_added_device_count;
        already += done.already_related_group_device_count;
        exceeding += done.exceed_ten_group_device_count;
        unknown += asked - done.valid_device_count;
    }
    if link.json {
        return Ok(());
    }
    line(&format!(
        "{added} added, {already} were in already, {exceeding} are in ten groups already, \
         {unknown} unknown or named twice"
    ))
}

async fn remove(args: MemberArgs, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    let mut taken = 0;
    for device in batches(&args)? {
        let request = BatchDeleteDeviceGroupRelationsRequest { group_id: args.id.clone(), device };
        let done = answer(client.batch_delete_device_group_relations(request)).await?;
        if link.json {
            json_line("BatchDeleteDeviceGroupRelationsResponse", &done)?;
        }
        taken += done.success_device_count;
    }
    if link.json { Ok(()) } else { line(&format!("{taken} taken out")) }
}
