//! Modules of products.

use otaria_core::rules::ModuleParams;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::gmt;

pub(super) async fn create(call: &Call<'_>) -> Done {
    call.commands().create_module(&call.caller, call.now, &params(call)).await?;
    Ok(Fields::new())
}

pub(super) async fn update(call: &Call<'_>) -> Done {
    call.commands().update_module(&call.caller, call.now, &params(call)).await?;
    Ok(Fields::new())
}

fn params(call: &Call<'_>) -> ModuleParams {
    ModuleParams {
        product_key: call.params.owned("ProductKey"),
        module_name: call.params.owned("ModuleName"),
        alias_name: call.params.owned("AliasName"),
        desc: call.params.owned("Desc"),
    }
}

pub(super) async fn delete(call: &Call<'_>) -> Done {
    let (product, module) = (call.params.owned("ProductKey"), call.params.owned("ModuleName"));
    call.commands().delete_module(&call.caller, product.as_ref(), module.as_ref()).await?;
    Ok(Fields::new())
}

/// One of the few lists without a wrapper.
pub(super) async fn list(call: &Call<'_>) -> Done {
    let product = call.params.owned("ProductKey");
    let (product, modules) = call.commands().modules(&call.caller, product.as_ref()).await?;
    let rows = modules.iter().map(|module| {
        Fields::new()
            .with("ProductKey", product.new.key.as_str())
            .with("ModuleName", module.name.as_str())
            .with("AliasName", module.alias.as_str())
            .with("Desc", module.description.as_str())
            .with("GmtCreate", gmt(module.created_at))
            .with("GmtModified", gmt(module.modified_at))
    });
    Ok(Fields::new().plain("Data", "OtaModuleDTO", rows))
}
