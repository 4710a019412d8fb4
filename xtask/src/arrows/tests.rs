use std::path::Path;

use super::table::Floor;
use super::{Arrow, Package, read_arrows, refusal};

fn arrow(from: (&str, Floor), to: (&str, Floor), is_for_tests: bool) -> Arrow {
    let package = |(name, floor): (&str, Floor)| Package { name: name.to_owned(), floor };
    Arrow { from: package(from), to: package(to), is_for_tests }
}

#[test]
fn arrows_down_pass_and_every_other_is_refused() {
    use Floor::*;
    for (from, to, is_allowed) in [
        (("quarry-pool", Storage), ("quarry-env", Env), true),
        (("quarry-pool", Storage), ("quarry-types", Base), true),
        (("quarry-nbd", Protocol), ("quarry-volume", Service), true),
        (("quarry-nbd", Protocol), ("quarry-target", Protocol), true),
        (("quarry-types", Base), ("quarry-env", Env), false),
        (("quarry-pool", Storage), ("quarry-engine", Service), false),
        (("quarry-device", Storage), ("quarry-pool", Storage), false),
        (("quarry-target", Protocol), ("quarry-nbd", Protocol), false),
        (("quarry-engine", Service), ("quarry-api-types", Control), false),
        (("quarry-api", Control), ("quarry-types", Base), true),
        (("quarry-api", Control), ("quarry-node-api", Control), true),
        (("quarry-api", Control), ("quarry-env", Env), false),
        (("quarry-api", Control), ("quarry-engine", Service), false),
        (("quarry-node-api", Control), ("quarry-api", Control), false),
        (("quarryd", Binary), ("quarry-engine", Service), true),
        (("quarryd", Binary), ("quarry-api", Control), true),
        (("quarry", Binary), ("quarry-client", Control), true),
        (("quarry", Binary), ("quarry-engine", Service), false),
        (("quarry-extract", Binary), ("quarry-format", Base), true),
        (("quarry-extract", Binary), ("quarry-log", Storage), false),
        (("quarry-extract", Binary), ("quarry-api-types", Control), false),
        (("quarry-sim", Simulator), ("quarry-nbd", Protocol), true),
        (("quarry-engine", Service), ("quarry-sim", Simulator), false),
        (("xtask", Tools), ("quarry-engine", Service), false),
        (("quarry-e2e", Tools), ("xtask", Tools), true),
    ] {
        let refusal = refusal(&arrow(from, to, false));
        assert_eq!(refusal.is_none(), is_allowed, "{from:?} -> {to:?}: {refusal:?}");
    }
}

#[test]
fn tests_may_look_up_but_control_never_at_the_data_plane() {
    use Floor::*;
    let up = (("quarry-pool", Storage), ("quarry-sim", Simulator));
    assert_eq!(refusal(&arrow(up.0, up.1, true)), None);
    let across = (("quarry-api", Control), ("quarry-engine", Service));
    assert!(refusal(&arrow(across.0, across.1, true)).unwrap().contains("control plane"));
}

#[test]
fn a_wrong_edge_in_the_metadata_is_found() {
    let json = r#"{"packages": [
        {"name": "quarry-types", "manifest_path": "/w/crates/base/types/Cargo.toml", "dependencies": [
            {"name": "serde", "kind": null},
            {"name": "quarry-engine", "kind": null, "path": "/w/crates/service/engine"}]},
        {"name": "quarry-engine", "manifest_path": "/w/crates/service/engine/Cargo.toml", "dependencies": [
            {"name": "quarry-types", "kind": null, "path": "/w/crates/base/types"},
            {"name": "quarry-types", "kind": "dev", "path": "/w/crates/base/types"}]}]}"#;
    let arrows = read_arrows(json, Path::new("/w")).unwrap();
    assert_eq!(arrows.len(), 3);
    let wrong: Vec<_> = arrows.iter().filter_map(refusal).collect();
    assert_eq!(wrong, ["quarry-types -> quarry-engine: Base may not depend on Service"]);
}

#[test]
fn a_package_in_an_unknown_folder_is_an_error() {
    assert_eq!(Floor::of(Path::new("crates/common/x")), None);
    assert_eq!(Floor::of(Path::new("crates/storage/log")), Some(Floor::Storage));
    assert_eq!(Floor::of(Path::new("tests/e2e")), Some(Floor::Tools));
    let json = r#"{"packages": [
        {"name": "a", "manifest_path": "/w/crates/common/a/Cargo.toml", "dependencies": [
            {"name": "a", "kind": null, "path": "/w/crates/common/a"}]}]}"#;
    assert!(read_arrows(json, Path::new("/w")).is_err());
}
