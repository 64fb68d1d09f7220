//! Products, their modules and packages.

use serde_json::Value;

use crate::world::World;

#[tokio::test]
async fn a_product_is_made_found_and_listed() {
    let world = World::new().await;
    let made = world.call("CreateProduct", &[("ProductName", "lamp"), ("NodeType", "0")]).await.ok();
    assert_eq!(made["ProductKey"], made["Data"]["ProductKey"]);
    let key = made["ProductKey"].as_str().unwrap();
    let found = world.call("QueryProduct", &[("ProductKey", key)]).await.ok();
    assert_eq!(found["Data"]["ProductName"], "lamp");
    assert_eq!(found["Data"]["NodeType"], 0);
    assert_eq!(found["Data"]["ProductSecret"], made["Data"]["ProductSecret"]);

    world.product("torch").await;
    let params = [("CurrentPage", "2"), ("PageSize", "1")];
    let listed = world.call("QueryProductList", &params).await.ok();
    let data = &listed["Data"];
    assert_eq!((&data["Total"], &data["PageCount"], &data["CurrentPage"]), (&2.into(), &2.into(), &2.into()));
    assert_eq!(data["List"]["ProductInfo"][0]["ProductName"], "torch");

    let twice = world.call("CreateProduct", &[("ProductName", "lamp"), ("NodeType", "0")]).await.refused();
    assert_eq!(twice, (200, "iot.prod.AlreadyExistedProductName".into()));
    let missing = world.call("CreateProduct", &[("ProductName", "lamp2")]).await.refused();
    assert_eq!(missing, (400, "MissingNodeType".into()));
}

#[tokio::test]
async fn a_firmware_shows_what_it_was_made_as() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let id = world.firmware(&product, "fw1", &[("Udi", "for you"), ("NeedToVerify", "False")]).await;
    let found = world.call("QueryOTAFirmware", &[("FirmwareId", &id)]).await.ok();
    let info = &found["FirmwareInfo"];
    assert_eq!(
        (&info["Status"], &info["Type"], &info["VerifyProgress"]),
        (&(-1).into(), &0.into(), &0.into())
    );
    assert_eq!((&info["FirmwareSize"], &info["Udi"]), (&7.into(), &"for you".into()));
    assert_eq!(info["FirmwareSign"], "efe90a8e604a7c840e88d03a67f6b7d8");
    assert_eq!(info["MultiFiles"], Value::Array(vec![]));
    assert_eq!(info["ProductName"], "lamp");

    world.firmware(&product, "fw2", &[]).await;
    let page = [("CurrentPage", "1"), ("PageSize", "10"), ("ProductKey", product.as_str())];
    let listed = world.call("ListOTAFirmware", &page).await.ok();
    let rows = listed["FirmwareInfo"]["SimpleFirmwareInfo"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["FirmwareName"], &rows[0]["Status"]), (2, &"fw2".into(), &0.into()));
    let missing = world.call("ListOTAFirmware", &page[1..]).await.refused();
    assert_eq!(missing, (400, "MissingCurrentPage".into()));
}

#[tokio::test]
async fn a_package_of_several_files_names_the_one_that_is_wrong() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let (one, two) =
        (world.uploaded(&[], b"one").await, world.uploaded(&[("FileSuffix", "zip")], b"two").await);
    let params = |size: &'static str| {
        [
            ("ProductKey", product.as_str()),
            ("FirmwareName", "fw1"),
            ("DestVersion", "2.0"),
            ("MultiFiles.1.Name", "a.bin"),
            ("MultiFiles.1.Url", one.as_str()),
            ("MultiFiles.2.Name", "b.bin"),
            ("MultiFiles.2.Url", two.as_str()),
            ("MultiFiles.2.Size", size),
        ]
    };
    let refused = world.call("CreateOTAFirmware", &params("x")).await;
    assert_eq!(refused.refused(), (400, "InvalidMultiFiles".into()));
    assert!(refused.body.contains("MultiFiles.2.Size"), "{}", refused.body);
    let made = world.call("CreateOTAFirmware", &params("3")).await.ok();
    let id = made["Data"]["FirmwareId"].as_str().unwrap();
    let found = world.call("QueryOTAFirmware", &[("FirmwareId", id)]).await.ok();
    let files = found["FirmwareInfo"]["MultiFiles"].as_array().unwrap();
    assert_eq!((files.len(), &files[1]["Name"], &files[1]["Size"]), (2, &"b.bin".into(), &3.into()));
    assert_eq!(files[1]["Url"], two);
}

#[tokio::test]
async fn a_firmware_is_changed_and_deleted_unless_a_job_needs_it() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let id = world.firmware(&product, "fw1", &[]).await;
    let change = [("FirmwareId", id.as_str()), ("FirmwareDesc", "mended"), ("FirmwareUdi", "for you")];
    world.call("ModifyOTAFirmware", &change).await.ok();
    let found = world.call("QueryOTAFirmware", &change[..1]).await.ok();
    let info = &found["FirmwareInfo"];
    assert_eq!((&info["FirmwareDesc"], &info["Udi"]), (&"mended".into(), &"for you".into()));
    world.call("DeleteOTAFirmware", &change[..1]).await.ok();
    let gone = world.call("QueryOTAFirmware", &change[..1]).await.refused();
    assert_eq!(gone, (200, "iot.ota.FirmwareNotFound".into()));
    world.call("DeleteProduct", &[("ProductKey", &product)]).await.ok();
}

#[tokio::test]
async fn modules_are_listed_without_a_wrapper() {
    let world = World::new().await;
    let product = world.product("lamp").await;
    let module = [("ProductKey", product.as_str()), ("ModuleName", "mcu"), ("AliasName", "the brain")];
    world.call("CreateOTAModule", &module).await.ok();
    world.call("UpdateOTAModule", &[module[0], module[1], ("Desc", "small")]).await.ok();
    let listed = world.call("ListOTAModuleByProduct", &module[..1]).await.ok();
    let rows = listed["Data"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["ModuleName"]), (2, &"default".into()));
    assert_eq!((&rows[1]["AliasName"], &rows[1]["Desc"]), (&"the brain".into(), &"small".into()));
    world.call("DeleteOTAModule", &module[..2]).await.ok();
    let gone = world.call("DeleteOTAModule", &module[..2]).await.refused();
    assert_eq!(gone.0, 200);
}
