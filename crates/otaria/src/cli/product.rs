//! `otaria product`.

use clap::Subcommand;
use otaria_proto::v1::{
    CreateProductRequest, DeleteProductRequest, NodeType, QueryProductListRequest, QueryProductRequest,
};

use super::link::LinkArgs;
use super::output::{Table, facts, instant, json_line, line, word};
use crate::remote::answer;

#[derive(Debug, Subcommand)]
pub(crate) enum ProductCommand {
    /// Make a product
    #[command(after_help = "Examples:\n  otaria product create my_sensor --description 'Sensors of 2026'")]
    Create {
        /// 4 to 30 letters, digits and underscores
        name: String,
        /// What the product is
        #[arg(long)]
        description: Option<String>,
        /// Its devices are gateways, which other devices stand behind
        #[arg(long)]
        gateway: bool,
    },
    /// List the products, newest first
    #[command(after_help = "Examples:\n  otaria product list --json")]
    List,
    /// Tell everything about a product
    #[command(after_help = "Examples:\n  otaria product show a1B2c3D4e5F")]
    Show {
        /// The product's key
        key: String,
    },
    /// Delete a product that has no devices, with its packages
    #[command(after_help = "Examples:\n  otaria product delete a1B2c3D4e5F")]
    Delete {
        /// The product's key
        key: String,
    },
}

pub(super) async fn run(command: ProductCommand, link: &LinkArgs) -> anyhow::Result<()> {
    let mut client = link.connect().await?.devices();
    match command {
        ProductCommand::Create { name, description, gateway } => {
            let request = CreateProductRequest {
                product_name: name,
                node_type: if gateway { NodeType::Gateway } else { NodeType::Device }.into(),
                description,
                ..CreateProductRequest::default()
            };
            let product = answer(client.create_product(request)).await?;
            if link.json {
                return json_line("CreateProductResponse", &product);
            }
            line(&format!("product {} is made\n", product.product_name))?;
            facts(&[("key", product.product_key.clone()), ("secret", product.product_secret)])?;
            let register = format!("otaria device register --product {} --count 100", product.product_key);
            line(&format!("\nnext: {register} --prefix sensor- --out devices.csv"))
        }
        ProductCommand::List => {
            let mut request = QueryProductListRequest::default();
            let mut table = Table::new(&["KEY", "NAME", "DEVICES", "KIND", "CREATED"]);
            loop {
                let page = answer(client.query_product_list(request.clone())).await?;
                for product in &page.products {
                    if link.json {
                        json_line("ProductInfo", product)?;
                        continue;
                    }
                    table.row([
                        product.product_key.clone(),
                        product.product_name.clone(),
                        product.device_count.to_string(),
                        word(product.node_type().as_str_name(), "NODE_TYPE_"),
                        instant(product.utc_create.as_ref()),
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
        ProductCommand::Delete { key } => {
            answer(client.delete_product(DeleteProductRequest { product_key: key })).await.map(drop)
        }
        ProductCommand::Show { key } => {
            let product = answer(client.query_product(QueryProductRequest { product_key: key })).await?;
            if link.json {
                return json_line("QueryProductResponse", &product);
            }
            facts(&[
                ("key", product.product_key.clone()),
                ("name", product.product_name.clone()),
                ("description", product.description.clone().unwrap_or_default()),
                ("secret", product.product_secret.clone().unwrap_or_default()),
                ("kind", word(product.node_type().as_str_name(), "NODE_TYPE_")),
                ("devices", product.device_count.to_string()),
                ("created", instant(product.utc_create.as_ref())),
            ])
        }
    }
}
