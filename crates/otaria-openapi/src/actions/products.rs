//! Products.

use otaria_core::rules::ProductParams;
use otaria_engine::command::ProductView;
use otaria_ports::store::Product;

use super::{Call, Done};
use crate::envelope::Fields;
use crate::instant::utc;
use crate::paging::Paging;

/// How devices prove who they are: there is no other way.
const AUTH_TYPE: &str = "secret";
/// The format of device data that the server reads.
const DATA_FORMAT: u8 = 1;

pub(super) async fn create(call: &Call<'_>) -> Done {
    let params = &call.params;
    let params = ProductParams {
        product_name: params.owned("ProductName"),
        node_type: params.int("NodeType")?,
        description: params.owned("Description"),
        auth_type: params.owned("AuthType"),
        data_format: params.int("DataFormat")?,
    };
    let view = call.commands().create_product(&call.caller, call.now, &params).await?;
    let data = head(&view.product).with("Id2", false).with_some("ProductSecret", view.secret);
    Ok(Fields::new().with("ProductKey", view.product.new.key.as_str()).with("Data", data))
}

pub(super) async fn query(call: &Call<'_>) -> Done {
    let view = call.commands().query_product(&call.caller, call.id("ProductKey")).await?;
    let ProductView { product, secret } = view;
    let data = row(&product)
        .with("Id2", false)
        .with("Owner", true)
        .with("ProductStatus", "DEVELOPMENT_STATUS")
        .with("UtcCreate", utc(product.created_at))
        .with_some("ProductSecret", secret);
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn list(call: &Call<'_>) -> Done {
    let page = Paging::up_to(200).read(&call.params)?;
    let listed = call.commands().list_products(&call.caller, None, page.skip(), page.size).await?;
    let data = page.fields(listed.total).wrapped("List", "ProductInfo", listed.rows.iter().map(row));
    Ok(Fields::new().with("Data", data))
}

pub(super) async fn delete(call: &Call<'_>) -> Done {
    let key = call.params.owned("ProductKey");
    call.commands().delete_product(&call.caller, call.now, key.as_ref()).await?;
    Ok(Fields::new())
}

fn head(product: &Product) -> Fields {
    Fields::new()
        .with("ProductKey", product.new.key.as_str())
        .with("ProductName", product.new.name.as_str())
        .with("Description", product.new.description.as_str())
        .with("AuthType", AUTH_TYPE)
        .with("DataFormat", DATA_FORMAT)
        .with("NodeType", product.new.node_type)
}

fn row(product: &Product) -> Fields {
    head(product).with("DeviceCount", product.device_count).with("GmtCreate", product.created_at.millis())
}
