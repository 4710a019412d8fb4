//! Documents against what is there, and steps that are done to a node of lists.

use quarry_api_types::State;

use super::*;

fn state(json: &str) -> State {
    serde_json::from_str(json).unwrap()
}

const SITE: &str = r#"{
    "pools":[{"name":"fast","devices":["/dev/sdb","/dev/sdc"],"copies":2}],
    "policies":[{"name":"gold","settings":{"compression":"lz4"}}],
    "volumes":[
        {"name":"a","pool":"fast","size_bytes":1073741824,"policy":"gold"},
        {"name":"b","pool":"fast","size_bytes":1073741824,"policy":"gold","overrides":{"compression":"off","tier":"nvme"}},
        {"name":"c","pool":"fast","size_bytes":4096,"durability":"always"}],
    "groups":[{"name":"shop","volumes":["a","b"],"policy":"gold"}],
    "hosts":[{"name":"web","initiators":["iqn.1993-08.org.debian:01:web"]}],
    "host_groups":[{"name":"farm","hosts":["web"]}],
    "exports":[{"volume":"a","protocol":"nbd"},{"volume":"b","protocol":"iscsi","host":"web","number":7}]}"#;

fn texts(steps: &StateSteps) -> Vec<String> {
    steps.steps.iter().map(StateStep::to_string).collect()
}

/// By these the audit log tells a step as it tells the same change when it is asked for by itself.
#[test]
fn steps_have_the_names_of_operations() {
    let planned = plan_state(&state(SITE), &Present::default());
    let named: std::collections::BTreeSet<_> = planned.steps.iter().map(StateStep::named).collect();
    for (operation, object) in [
        ("create_pool", "fast"),
        ("create_host", "web"),
        ("create_host_group", "farm"),
        ("create_policy", "gold"),
        ("create_volume", "a"),
        ("attach_volume_policy", "b"),
        ("create_group", "shop"),
        ("attach_group_policy", "shop"),
        ("create_export", "b"),
    ] {
        assert!(named.contains(&(operation, object.to_owned())), "{operation} {object}: {named:?}");
    }
}

#[test]
fn an_empty_node_gets_everything_in_an_order_that_works() {
    let planned = plan_state(&state(SITE), &Present::default());
    assert!(planned.plan.problems.is_empty(), "{:?}", planned.plan.problems);
    assert_eq!(
        texts(&planned),
        [
            "create pool fast",
            "create host web",
            "create host group farm",
            "create policy gold",
            "create volume a",
            "create volume b",
            "set the policy of volume b",
            "create volume c",
            "create group shop",
            "set the policy of group shop",
            "export a over nbd",
            "export b over iscsi"
        ]
    );
    assert_eq!(planned.plan.changes.len(), state(SITE).count());
}

#[test]
fn what_is_not_there_and_not_stated_is_a_problem_with_its_place() {
    let planned = plan_state(
        &state(
            r#"{"volumes":[{"name":"v","pool":"gone","size_bytes":1000,"policy":"none","compression":"lz4"}],
            "groups":[{"name":"g","volumes":["x"]}],"host_groups":[{"name":"f","hosts":["h"]}],
            "exports":[{"volume":"y","protocol":"iscsi","host":"z"}]}"#,
        ),
        &Present::default(),
    );
    let problems: Vec<String> = planned
        .plan
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.place, problem.message))
        .collect();
    for part in [
        "volume 'v', pool: there is no pool 'gone'",
        "volume 'v', policy: there is no policy 'none'",
        "volume 'v', size_bytes: 1000 is not a multiple of 512",
        "group 'g', volumes: there is no volume 'x'",
        "host-group 'f', hosts: there is no host 'h'",
        "export 'y over iscsi to z', volume: there is no such volume",
        "export 'y over iscsi to z', host: there is no such host",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part}: {problems:#?}");
    }
}

#[test]
fn a_policy_and_a_volume_do_not_contradict_each_other() {
    let planned = plan_state(
        &state(
            r#"{"pools":[{"name":"p","devices":["/a"]}],"policies":[{"name":"gold","settings":{"compression":"lz4"}}],
            "volumes":[{"name":"v","pool":"p","size_bytes":512,"policy":"gold","compression":"off"}]}"#,
        ),
        &Present::default(),
    );
    let [problem] = &planned.plan.problems[..] else { panic!("{:?}", planned.plan.problems) };
    assert_eq!(problem.place.field.as_deref(), Some("compression"));
    assert!(problem.message.contains("say it under overrides"), "{}", problem.message);
}

#[test]
fn quality_of_service_is_stated_of_volumes_and_groups() {
    let wanted = r#"{"pools":[{"name":"p","devices":["/a"]}],
        "volumes":[{"name":"v","pool":"p","size_bytes":512,"qos":{"iops_max":500}}],
        "groups":[{"name":"g","volumes":["v"],"qos":{"iops_max":MAX}}]}"#;
    let planned = plan_state(&state(&wanted.replace("MAX", "900")), &Present::default());
    assert!(planned.plan.problems.is_empty(), "{:?}", planned.plan.problems);
    let asked = planned.steps.iter().filter_map(|step| match step {
        StateStep::CreateVolume(request) => request.qos.as_ref()?.iops_max,
        StateStep::CreateGroup(request) => request.qos.as_ref()?.iops_max,
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [500, 900]);
    let planned = plan_state(&state(&wanted.replace("MAX", "0")), &Present::default());
    let [problem] = &planned.plan.problems[..] else { panic!("{:?}", planned.plan.problems) };
    assert_eq!(problem.place.field.as_deref(), Some("qos"));
}

#[test]
fn a_device_in_a_directory_is_known_by_the_directory() {
    for (stated, device, is_same) in [
        ("/srv/disks", "/srv/disks/pool-1", true),
        ("/srv/disks/", "/srv/disks/pool-1", true),
        ("/srv/disks", "/srv/disks/a/b", false),
        ("/srv/dis", "/srv/disks/pool-1", false),
        ("/dev/sdb", "/dev/sdb", true),
        ("/dev/sdb", "/dev/sdb1", false),
    ] {
        assert_eq!(super::pools::is_device(stated, device), is_same, "{stated} {device}");
    }
}

/// What a step would find only after others were done.
#[test]
fn what_the_node_cannot_do_is_a_problem_before_anything_is_begun() {
    let wanted = state(
        r#"{"pools":[{"name":"one","devices":["/dev/sdb"]}],
        "policies":[{"name":"safe","settings":{"protection":"copies:3"}}],
        "volumes":[{"name":"a","pool":"one","size_bytes":4096,"policy":"safe"},
                   {"name":"b","pool":"one","size_bytes":4096,"protection":"ec:4+2"},
                   {"name":"c","pool":"one","size_bytes":4096,"protection":"copies:1"}],
        "exports":[{"volume":"a@monday","protocol":"nbd"},{"volume":"b","protocol":"iscsi"}]}"#,
    );
    let mut present = Present { unserved: vec![quarry_api_types::Protocol::Iscsi], ..Present::default() };
    let problems = |present: &Present| -> Vec<String> {
        let problems = plan_state(&wanted, present).plan.problems;
        problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
    };
    let told = problems(&present);
    for part in [
        "volume 'a', protection: copies:3 needs 3 distinct devices, and pool 'one' has 1",
        "volume 'b', protection: ec:4+2 needs 6 distinct devices, and pool 'one' has 1",
        "there is no snapshot 'a@monday'",
        "protocol: the node does not serve iscsi: start quarryd with --iscsi ADDR",
    ] {
        assert!(told.iter().any(|one| one.contains(part)), "{part}: {told:#?}");
    }
    assert_eq!(told.len(), 4, "{told:#?}");
    present.unserved.clear();
    present.snapshots.insert("a@monday".parse().unwrap());
    assert_eq!(problems(&present).len(), 2);
}
