//! Dynamic groups, and dynamic jobs for them.

use otaria_core::ids::DeviceId;
use otaria_core::rules::{Code, DynamicGroupParams, DynamicUpgradeParams, GroupParams, StaticUpgradeParams};
use otaria_core::task::TaskStatus;
use otaria_engine::CommandError;
use otaria_engine::command::{DynamicMemberParams, DynamicPlace, GroupListParams, MemberParams};
use otaria_ports::store::Group;

use crate::dynamic::{LATER_ONLY, NOW_AND_LATER, end, make, refusal, standing, try_make};
use crate::fleet::Temper;
use crate::process::run;
use crate::world::{MINUTE, World, text};

fn try_group(world: &World, name: &str, rule: &str) -> Result<Group, CommandError> {
    let params = DynamicGroupParams {
        group_name: text(name),
        group_desc: text("for tests"),
        dynamic_group_expression: text(rule),
    };
    run(world.process.commands.create_dynamic_group(&world.caller, world.now, &params))
}

fn group(world: &World, name: &str, rule: &str) -> String {
    try_group(world, name, rule).unwrap().new.id.to_string()
}

fn fixed_group(world: &World, name: &str) -> String {
    let params = GroupParams { group_name: text(name), ..GroupParams::default() };
    let commands = &world.process.commands;
    run(commands.create_group(&world.caller, world.now, &params)).unwrap().new.id.to_string()
}

fn for_group(world: &World, mode: Option<i64>, id: &str) -> DynamicUpgradeParams {
    DynamicUpgradeParams {
        group_id: text(id),
        group_type: text("LINK_PLATFORM_DYNAMIC"),
        ..standing(world, mode)
    }
}

/// The names on every page of so many rows.
fn members(world: &World, params: &DynamicMemberParams, rows: usize) -> (Vec<String>, u64) {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page =
            world.process.commands.devices_of_dynamic_group(&world.caller, params, after.as_ref(), 0, rows);
        let page = run(page).unwrap();
        assert!(page.rows.len() <= rows);
        names.extend(page.rows.iter().map(|row| row.device.name.to_string()));
        let Some(next) = page.next else { return (names, page.total) };
        assert_eq!(DynamicPlace::parse(&next.to_string()), Some(next.clone()));
        after = Some(next);
    }
}

fn of_group(id: &str) -> DynamicMemberParams {
    DynamicMemberParams { group_id: text(id), ..DynamicMemberParams::default() }
}

#[test]
fn a_job_for_a_dynamic_group_takes_who_matches_its_rule() {
    let mut world = World::new(340);
    let devices = world.devices(30, Temper::Obedient);
    let id = group(&world, "tens", r#"name like "dev-00001%""#);
    let job = make(&world, &for_group(&world, NOW_AND_LATER, &id));
    let expansion = world.expansion(job);
    assert_eq!((expansion.tasks, expansion.skipped, expansion.lines), (10, 20, 30));

    world.firmware = world.make_firmware("other", false);
    let later = make(&world, &for_group(&world, LATER_ONLY, &id));
    run(world.process.commands.delete_group(&world.caller, &id)).unwrap();
    world.connect(&devices[..10]);
    world.run_for(MINUTE / 6);
    assert_eq!(world.counts(later).total(), 0);
    let view = |job| {
        let id = world.job(job).id.to_string();
        run(world.process.commands.query_job(&world.caller, world.now, &id)).unwrap()
    };
    assert_eq!(view(job).group_name, None, "the rule outlives the group");
    world.connect(&devices[10..]);
    world.run_until("success", MINUTE, |world| world.count(later, TaskStatus::Succeeded) == 10);
    let taken: Vec<DeviceId> = world.tasks(later).iter().map(|task| task.key.device).collect();
    assert!(devices[10..20].iter().all(|device| taken.contains(device)));
    world.check();
}

#[test]
fn jobs_of_one_group_agree_on_their_modes() {
    let mut world = World::new(341);
    let id = group(&world, "everybody", r#"name like "%""#);
    let first = make(&world, &for_group(&world, LATER_ONLY, &id));
    world.firmware = world.make_firmware("other", false);
    let with = |overwrite: Option<i64>, multi: Option<bool>| {
        let mut params = for_group(&world, LATER_ONLY, &id);
        (params.job.overwrite_mode, params.job.multi_module_mode) = (overwrite, multi);
        params
    };
    let refused = |params: &_| refusal(try_make(&world, params).unwrap_err());
    assert_eq!(refused(&with(Some(2), None)), (Code::InvalidParameter, "OverwriteMode".into()));
    assert_eq!(refused(&with(None, Some(true))), (Code::InvalidParameter, "MultiModuleMode".into()));
    let second = make(&world, &with(Some(1), Some(false)));
    end(&world, first).unwrap();
    end(&world, second).unwrap();
    make(&world, &with(Some(2), None));
}

#[test]
fn a_group_of_the_other_kind_is_refused_by_name() {
    let mut world = World::new(342);
    world.devices(1, Temper::Obedient);
    let (rule, list) = (group(&world, "rule", r#"name like "%""#), fixed_group(&world, "list"));
    let wrong = (Code::InvalidParameter, "GroupId".to_owned());
    let fixed = StaticUpgradeParams {
        target_selection: text("GROUP"),
        group_id: text(&rule),
        group_type: text("LINK_PLATFORM"),
        ..world.all()
    };
    assert_eq!(refusal(world.try_create(&fixed).unwrap_err()), wrong);
    assert_eq!(refusal(try_make(&world, &for_group(&world, None, &list)).unwrap_err()), wrong);

    let commands = &world.process.commands;
    let some = [MemberParams { product_key: text(&world.product), device_name: text("dev-000000") }];
    assert_eq!(refusal(run(commands.add_to_group(&world.caller, &rule, &some)).unwrap_err()), wrong);
    assert_eq!(refusal(run(commands.take_from_group(&world.caller, &rule, &some)).unwrap_err()), wrong);
    let listed = run(commands.devices_of_group(&world.caller, &rule, None, 0, 9));
    assert_eq!(refusal(listed.unwrap_err()), wrong);
    let listed = run(commands.devices_of_dynamic_group(&world.caller, &of_group(&list), None, 0, 9));
    assert_eq!(refusal(listed.unwrap_err()), wrong);
    let within = GroupParams { group_name: text("room"), super_group_id: text(&rule), group_desc: None };
    let within = run(commands.create_group(&world.caller, world.now, &within)).unwrap_err();
    assert_eq!(refusal(within), (Code::InvalidParameter, "SuperGroupId".into()));
}

#[test]
fn a_dynamic_group_is_made_described_listed_and_deleted() {
    let world = World::new(343);
    let refused = |name: &str, rule: &str| refusal(try_group(&world, name, rule).unwrap_err());
    let at_fault = |parameter: &str| (Code::InvalidParameter, parameter.to_owned());
    assert_eq!(refused("abc", r#"name like "%""#), at_fault("GroupName"));
    assert_eq!(refused("rule", "name like 1"), at_fault("DynamicGroupExpression"));
    assert_eq!(refused("rule", "").1, "DynamicGroupExpression");

    let (rule, list) = (group(&world, "rule", r#"name like "%""#), fixed_group(&world, "list"));
    let commands = &world.process.commands;
    let twice = refused("rule", r#"name like "%""#);
    assert_eq!(twice.0, Code::GroupNameExisted);
    let listed = |types: &[&str]| {
        let group_types = types.iter().map(|kind| (*kind).to_owned()).collect();
        let params = GroupListParams { group_types, ..GroupListParams::default() };
        let listed = run(commands.list_groups(&world.caller, &params, None, 0, 9)).unwrap();
        listed.rows.into_iter().map(|group| group.new.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), [list.clone(), rule.clone()]);
    assert_eq!(listed(&["LINK_PLATFORM"]), std::slice::from_ref(&list));
    assert_eq!(listed(&["LINK_PLATFORM_DYNAMIC"]), std::slice::from_ref(&rule));
    assert_eq!(listed(&["LINK_PLATFORM_DYNAMIC", "LINK_PLATFORM"]).len(), 2);

    let (dynamic, fixed) = (text("LINK_PLATFORM_DYNAMIC"), text("LINK_PLATFORM"));
    let describe = |kind: Option<&String>| {
        run(commands.update_group(&world.caller, &rule, kind, text("another").as_ref()))
    };
    describe(dynamic.as_ref()).unwrap();
    assert_eq!(refusal(describe(fixed.as_ref()).unwrap_err()), at_fault("GroupType"));
    let view = run(commands.query_group(&world.caller, &rule, dynamic.as_ref())).unwrap();
    assert_eq!((view.group.new.description.as_str(), view.devices), ("another", 0));
    assert_eq!(view.group.new.expression.unwrap().as_str(), r#"name like "%""#);
    run(commands.delete_group(&world.caller, &rule)).unwrap();
    assert_eq!(listed(&[]), [list]);
}

#[test]
fn members_are_found_in_the_order_of_names_and_counted() {
    let mut world = World::new(344);
    let devices = world.devices(2_400, Temper::Obedient);
    world.connect(&devices[..50]);
    world.run_for(MINUTE / 30);
    world.disconnect(&devices[..20]);
    let id = group(&world, "many", r#"name like "dev-00%" and not name like "%9""#);
    let commands = &world.process.commands;
    let view = run(commands.query_group(&world.caller, &id, None)).unwrap();
    assert_eq!((view.devices, view.active, view.online), (2_160, 45, 27));

    let all = members(&world, &of_group(&id), 700);
    assert_eq!((all.0.len(), all.1), (2_160, 2_160));
    assert!(all.0.is_sorted());
    let one = DynamicMemberParams { device_name: text("dev-000123"), ..of_group(&id) };
    assert_eq!(members(&world, &one, 10), (vec!["dev-000123".into()], 1));
    let other = DynamicMemberParams { device_name: text("dev-000129"), ..of_group(&id) };
    assert_eq!(members(&world, &other, 10), (vec![], 0));
    let begins = DynamicMemberParams {
        device_name: text("dev-0001"),
        fuzzy_name: Some(true),
        product_key: text(&world.product),
        ..of_group(&id)
    };
    assert_eq!(members(&world, &begins, 7).1, 90);
    for (status, count) in [("ONLINE", 27), ("OFFLINE", 18), ("UNACTIVE", 2_115), ("DISABLE", 0)] {
        let params = DynamicMemberParams { status: text(status), ..of_group(&id) };
        assert_eq!(members(&world, &params, 1_000).1, count, "{status}");
    }
    let params = DynamicMemberParams { status: text("AWAY"), ..of_group(&id) };
    let wrong = run(commands.devices_of_dynamic_group(&world.caller, &params, None, 0, 9)).unwrap_err();
    assert_eq!(refusal(wrong), (Code::InvalidParameter, "Status".into()));
    let by_number = run(commands.devices_of_dynamic_group(&world.caller, &of_group(&id), None, 2_155, 10));
    assert_eq!(by_number.unwrap().rows.len(), 5);
}

#[test]
fn a_rule_never_shows_what_belongs_to_another_account() {
    let mut world = World::new(345);
    world.devices(3, Temper::Obedient);
    let foreign = world.product.clone();
    world.turn_to_another_account();
    let open = group(&world, "open", r#"name like "%""#);
    let named = group(&world, "named", &format!(r#"product_key = "{foreign}""#));
    assert_eq!(members(&world, &of_group(&open), 10).1, 0);
    assert_eq!(members(&world, &of_group(&named), 10).1, 0);
    let params = DynamicMemberParams { product_key: text(&foreign), ..of_group(&open) };
    let commands = &world.process.commands;
    let found = run(commands.devices_of_dynamic_group(&world.caller, &params, None, 0, 9)).unwrap_err();
    assert_eq!(refusal(found).0, Code::ProductNotFound);
}
