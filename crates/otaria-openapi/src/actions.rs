//! The table of actions: a name and what does it. Each reads its parameters, gives one command and writes
//! the answer; roles and rules are the commands'.
//!
//! The name is also the key of the action's quota and the root of its XML answers.

mod batches;
mod devices;
pub(crate) mod firmware;
mod groups;
pub(crate) mod jobs;
mod modules;
mod products;
mod tasks;
mod uploads;

use futures_util::future::BoxFuture;
use otaria_core::time::Timestamp;
use otaria_engine::command::{Caller, DeviceRef};
use otaria_engine::{CommandError, Commands};

use crate::api::Api;
use crate::envelope::Fields;
use crate::params::Params;

/// A call that was let in.
pub(crate) struct Call<'a> {
    pub(crate) api: &'a Api,
    pub(crate) caller: Caller,
    pub(crate) now: Timestamp,
    pub(crate) params: Params,
}

/// One action.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) run: for<'a> fn(&'a Call<'a>) -> BoxFuture<'a, Done>,
}

/// What an action answers.
pub(crate) type Done = Result<Fields, CommandError>;

macro_rules! actions {
    ($($name:literal => $run:path,)+) => {
        &[$(Action { name: $name, run: |call| Box::pin($run(call)) }),+]
    };
}

const ACTIONS: &[Action] = actions! {
    "CreateProduct" => products::create,
    "QueryProduct" => products::query,
    "QueryProductList" => products::list,
    "DeleteProduct" => products::delete,
    "CreateOTAModule" => modules::create,
    "UpdateOTAModule" => modules::update,
    "DeleteOTAModule" => modules::delete,
    "ListOTAModuleByProduct" => modules::list,
    "RegisterDevice" => devices::register,
    "QueryDevice" => devices::list,
    "QueryDeviceDetail" => devices::detail,
    "GetDeviceStatus" => devices::status,
    "BatchGetDeviceState" => devices::states,
    "DeleteDevice" => devices::delete,
    "DisableThing" => devices::disable,
    "EnableThing" => devices::enable,
    "BatchCheckDeviceNames" => batches::check_names,
    "BatchRegisterDevice" => batches::register_count,
    "BatchRegisterDeviceWithApplyId" => batches::register_checked,
    "QueryBatchRegisterDeviceStatus" => batches::status,
    "QueryPageByApplyId" => batches::devices,
    "ListOTAModuleVersionsByDevice" => devices::module_versions,
    "CreateDeviceGroup" => groups::create,
    "CreateDeviceDynamicGroup" => groups::create_dynamic,
    "QueryDynamicGroupDevices" => groups::dynamic_devices,
    "UpdateDeviceGroup" => groups::update,
    "DeleteDeviceGroup" => groups::delete,
    "QueryDeviceGroupInfo" => groups::query,
    "QueryDeviceGroupList" => groups::list,
    "BatchAddDeviceGroupRelations" => groups::add_devices,
    "BatchDeleteDeviceGroupRelations" => groups::take_devices,
    "QueryDeviceListByDeviceGroup" => groups::devices,
    "QueryDeviceGroupByDevice" => groups::of_device,
    "GenerateOTAUploadURL" => uploads::package_form,
    "GenerateDeviceNameListURL" => uploads::list_form,
    "CreateOTAFirmware" => firmware::create,
    "QueryOTAFirmware" => firmware::query,
    "ListOTAFirmware" => firmware::list,
    "ModifyOTAFirmware" => firmware::modify,
    "DeleteOTAFirmware" => firmware::delete,
    "CreateOTAVerifyJob" => jobs::create_verify,
    "CreateOTAStaticUpgradeJob" => jobs::create_static,
    "CreateOTADynamicUpgradeJob" => jobs::create_dynamic,
    "CancelOTAStrategyByJob" => jobs::cancel_strategy,
    "QueryOTAJob" => jobs::query,
    "UpdateOTAJob" => jobs::update,
    "ListOTAJobByFirmware" => jobs::list_by_firmware,
    "ListOTAJobByDevice" => jobs::list_by_device,
    "ListOTATaskByJob" => tasks::list_by_job,
    "ListOTAUnfinishedTaskByDevice" => tasks::list_unfinished,
    "ConfirmOTATask" => tasks::confirm,
    "ReupgradeOTATask" => tasks::reupgrade,
    "CancelOTATaskByJob" => tasks::cancel_by_job,
    "CancelOTATaskByDevice" => tasks::cancel_by_device,
};

/// The action of this name, spelled exactly so.
pub(crate) fn find(name: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == name)
}

/// The names of all actions that are served.
pub fn action_names() -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().map(|action| action.name)
}

impl Call<'_> {
    fn commands(&self) -> &Commands {
        &self.api.commands
    }

    /// The text of an id that a command looks up; absent ones are refused there.
    fn id(&self, name: &str) -> &str {
        self.params.text(name).unwrap_or_default()
    }

    /// The device that the call names.
    fn device(&self) -> DeviceRef {
        DeviceRef {
            iot_id: self.params.owned("IotId"),
            product_key: self.params.owned("ProductKey"),
            device_name: self.params.owned("DeviceName"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_action_stands_in_the_table_twice() {
        let names: BTreeSet<&str> = action_names().collect();
        assert_eq!(names.len(), ACTIONS.len());
        assert!(find("QueryOTAJob").is_some());
        assert!(find("queryotajob").is_none());
    }
}
