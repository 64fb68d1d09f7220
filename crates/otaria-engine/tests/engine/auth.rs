//! Secrets out of the store: sealed there, opened for the gateway.

use otaria_core::ids::{DeviceName, ProductKey};
use otaria_core::rules::DeviceParams;
use otaria_engine::auth::StoreAuth;
use otaria_ports::auth::contract::{self, Known};

use crate::process::run;
use crate::world::World;

#[test]
fn secrets_from_the_store_keep_the_contract() {
    let world = World::new(1);
    let commands = &world.process.commands;
    let params: Vec<DeviceParams> =
        (1..=3).map(|n| DeviceParams { device_name: Some(format!("dev-{n}")), nickname: None }).collect();
    let made = commands.register_devices(&world.caller, world.now, Some(&world.product), &params);
    let made = run(made).unwrap().into_iter().map(Result::unwrap);
    let devices: Vec<(DeviceName, String)> = made.map(|device| (device.name, device.secret)).collect();
    let key = run(commands.ensure_admin_key(world.now, None)).unwrap().expect("the first admin");

    let product = ProductKey::parse(&world.product).unwrap();
    let known = Known { product, devices, key, account: world.caller.account };
    run(contract::all(&StoreAuth::new(world.process.shell.clone()), &known));
}
