//! The built binary: the forms of its answers, and what is made of its definition.
#![expect(clippy::disallowed_methods, reason = "a test of a process needs real sockets and files")]

#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use std::process::{Command, Stdio};

use binary::{Node, quarry};

fn node() -> Node {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 3GiB --quota 2GiB");
    node.ok("snapshot create v --name s");
    node.ok("host create web --network 10.2.0.7");
    node.ok("export create v --protocol nbd");
    node
}

#[test]
fn yaml_is_the_object_of_the_api() {
    let node = node();
    let yaml = node.ok("-o yaml volume show v");
    for line in ["name: v\n", "size_bytes: 3221225472\n", "compression: \"off\"\n", "encrypted: false\n"] {
        assert!(yaml.contains(line), "{yaml}");
    }
    // Every field, in the order of JSON.
    let json = node.ok("-o json volume show v");
    let keys = |text: &str, indent: &str, quote: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with(&format!("{indent} ")));
        let key =
            |line: &str| Some(line.trim().trim_matches('"').split_once(&format!("{quote}:"))?.0.to_owned());
        lines.filter_map(key).collect()
    };
    assert_eq!(keys(&yaml, "", ""), keys(&json, "  ", "\""));
    assert!(node.ok("-o yaml volume list").starts_with("- id: "));
    assert_eq!(node.ok("-o yaml group list"), "[]\n");
    assert_eq!(node.ok("-o yaml snapshot delete v@s"), "");
}

#[test]
fn wide_tables_have_more_columns_behind_those_of_narrow_ones() {
    let node = node();
    for (list, more) in [
        ("volume list", "QUOTA"),
        ("pool list", "PROMISED"),
        ("device list", "TEMPERATURE"),
        ("export list", "VOLUME ID"),
        ("snapshot list", "SET"),
        ("host list", "CHAP USER"),
    ] {
        let (narrow, wide) = (node.ok(list), node.ok(&format!("-o wide {list}")));
        let head = |table: &str| {
            let head = table.lines().next().unwrap_or_default().to_owned();
            head.split("  ")
                .filter(|word| !word.is_empty())
                .map(|word| word.trim().to_owned())
                .collect::<Vec<_>>()
        };
        let (narrow, wide) = (head(&narrow), head(&wide));
        assert!(wide.starts_with(&narrow) && !narrow.iter().any(|word| word == more), "{wide:?}");
        assert!(wide.iter().any(|word| word == more), "{wide:?}");
    }
}

#[test]
fn sizes_are_exact_on_demand() {
    let node = node();
    assert!(node.ok("volume list").contains("  3 GiB  "));
    let exact = node.ok("--exact -o wide volume list");
    assert!(exact.contains("  3221225472  ") && exact.contains("  2147483648  "), "{exact}");
    let shown = node.ok("volume show v --exact");
    assert!(shown.contains("Size:           3221225472 bytes\n"), "{shown}");
    assert!(shown.contains("Quota:          2147483648 bytes\n"), "{shown}");
    assert!(!node.ok("pool show p --exact").contains("iB"));
    assert_eq!(node.ok("-o json volume list"), node.ok("-o json volume list --exact"));
}

/// Without any node.
fn alone(line: &str) -> String {
    let output = quarry("http://127.0.0.1:1", line).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn shells_take_their_completions() {
    for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
        let script = alone(&format!("completions {shell}"));
        assert!(script.contains("snapshot-delete"), "{shell}");
        let file = format!("{}/completions.{shell}", env!("CARGO_TARGET_TMPDIR"));
        std::fs::write(&file, script).unwrap();
        let checked = Command::new(shell).args([check, &file]).stdin(Stdio::null()).output();
        let checked =
            checked.unwrap_or_else(|error| panic!("{shell}: {error}; scripts/setup.sh installs it"));
        assert!(checked.status.success(), "{shell}: {checked:?}");
    }
}

#[test]
fn bash_completes_words_of_the_command() {
    let file = format!("{}/completes.bash", env!("CARGO_TARGET_TMPDIR"));
    let ask =
        "COMP_WORDS=(quarry volume rol); COMP_CWORD=2; _quarry quarry rol volume; echo \"${COMPREPLY[@]}\"";
    std::fs::write(&file, format!("{}\n{ask}\n", alone("completions bash"))).unwrap();
    let answer = Command::new("bash").arg(&file).output().unwrap();
    assert_eq!(String::from_utf8(answer.stdout).unwrap(), "rollback\n", "{:?}", answer.stderr);
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = format!("{}/man", env!("CARGO_TARGET_TMPDIR"));
    alone(&format!("man {folder}"));
    let page = |name: &str| std::fs::read_to_string(format!("{folder}/{name}.1")).unwrap();
    for (name, said) in [
        ("quarry", "Exit codes"),
        ("quarry-volume", "rollback"),
        ("quarry-volume-create", "quarry volume create vm\\-17"),
        ("quarry-host-group-add", "quarry host group add esx esx04"),
    ] {
        assert!(page(name).contains(said), "{name}");
    }
    assert!(std::fs::read_dir(&folder).unwrap().count() > 120);
    let unwritable = quarry("http://127.0.0.1:1", "man /proc/no").output().unwrap();
    assert_eq!(unwritable.status.code(), Some(1));
}
