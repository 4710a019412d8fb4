//! Documents of intended state and jobs, against the real API server with a node in memory behind it.
#![expect(clippy::disallowed_methods, reason = "a test of a process needs real sockets and files")]

#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use std::path::Path;

use binary::{Node, stderr};
use quarry_api_types::{Job, JobKind, State, StatePlan};
use tempfile::TempDir;

fn write(folder: &TempDir, file: &str, text: &str) -> String {
    let path = folder.path().join(file);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

const SITE: &str = "pools:
  - name: fast
    devices: [/dev/sdb]
policies:
  - name: gold
    settings:
      compression: lz4
      snapshots:
        time_zone: Europe/Berlin
        rules:
          - {every: 15m, keep: 96}
";

#[test]
fn a_folder_is_one_document_and_twice_changes_nothing() {
    let (node, folder) = (Node::start(), TempDir::new().unwrap());
    write(&folder, "10-site.yaml", SITE);
    write(
        &folder,
        "20-volumes.yml",
        "volumes:\n  - name: a\n    pool: fast\n    size_bytes: 20GiB\n    policy: gold\n",
    );
    write(&folder, "notes.txt", "not a document: [");
    let folder_path = folder.path().display();
    let plan = node.ok(&format!("diff -f {folder_path}"));
    assert_eq!(plan, "+ pool 'fast': new\n+ policy 'gold': new\n+ volume 'a': new\n");
    assert_eq!(node.ok(&format!("apply -f {folder_path} --dry-run")), plan);
    assert!(node.memory.volume_names().is_empty(), "nothing was changed yet");
    let applied = node.ok(&format!("apply -f {folder_path}"));
    assert!(applied.starts_with(&plan) && applied.contains("State:             done\n"), "{applied}");
    assert_eq!(node.memory.volume_names(), ["a"]);
    let again = node.ok(&format!("apply -f {folder_path}"));
    assert_eq!(again, "Nothing to change: everything is as stated.\n");
    let json: StatePlan = serde_json::from_str(&node.ok(&format!("-o json apply -f {folder_path}"))).unwrap();
    assert_eq!(json, StatePlan::default());

    // What is exported is a document, in both forms.
    let yaml = node.ok("state export");
    assert!(yaml.contains("    size_bytes: 20GiB\n") && !yaml.contains("version:"), "{yaml}");
    let exported = write(&folder, "exported.yaml", &yaml);
    assert!(node.ok(&format!("diff -f {exported}")).starts_with("Nothing to change"));
    let json = node.ok("-o json state export --versions");
    let state: State = serde_json::from_str(&json).unwrap();
    assert_eq!(state.volumes[0].version.as_deref(), Some("1"));
    let exported = write(&folder, "exported.json", &json);
    assert!(node.ok(&format!("diff -f {exported}")).starts_with("Nothing to change"));
}

#[test]
fn what_is_wrong_is_told_with_file_and_line() {
    let (node, folder) = (Node::start(), TempDir::new().unwrap());
    let site = write(&folder, "site.yaml", SITE);
    node.ok(&format!("apply -f {site}"));
    let volumes = write(&folder, "v.yaml", "volumes:\n  - name: a\n    pool: fast\n    size_bytes: 1GiB\n");
    node.ok(&format!("apply -f {volumes} --no-wait"));
    let smaller = write(&folder, "w.yaml", "volumes:\n  - name: a\n    pool: fast\n    size_bytes: 1MiB\n");
    for command in ["diff", "apply"] {
        let told = node.fails(&format!("{command} -f {site} -f {smaller}"), 2);
        assert!(
            told.contains(&format!("error: {smaller}:4: volumes[0].size_bytes: it does not become smaller")),
            "{told}"
        );
    }
    let wrong = write(&folder, "x.yaml", "volumes:\n  - name: a\n    pool: fast\n    size: 1MiB\n");
    let told = node.fails(&format!("apply -f {wrong}"), 2);
    assert!(told.contains(&format!("{wrong}:4: volumes[0].size: unknown field `size`")), "{told}");
    let twice = node.fails(&format!("apply -f {volumes} -f {volumes}"), 2);
    assert!(twice.contains("volumes: 'a' is stated twice"), "{twice}");
    let empty = write(&folder, "empty.yaml", "# nothing\n");
    assert!(node.fails(&format!("apply -f {empty}"), 2).contains("states nothing"));
    assert!(node.fails("apply -f /nonexistent.yaml", 1).contains("cannot be read"));
    let none = TempDir::new().unwrap();
    assert!(
        node.fails(&format!("diff -f {}", none.path().display()), 2)
            .contains("has no files that end in .yaml")
    );
    assert!(Path::new(&site).exists());
}

#[test]
fn jobs_are_listed_waited_for_and_cancelled() {
    let node = Node::start();
    node.memory.work(JobKind::Drain, "/dev/sdb", &[250, 500, 1000]);
    let list = node.ok("job list");
    assert!(list.contains("1  drain  /dev/sdb  running"), "{list}");
    let waited = node.run("job wait 1");
    assert!(waited.status.success(), "{}", stderr(&waited));
    assert!(
        String::from_utf8(waited.stdout).unwrap().contains("Done:              1000 B of 1000 B, 100 %\n")
    );
    node.memory.work(JobKind::Scrub, "p", &[]);
    let cancelled: Job = serde_json::from_str(&node.ok("-o json job cancel 2")).unwrap();
    assert!(cancelled.is_over());
    let told = node.fails("job wait 2", 4);
    assert!(told.contains("job 2 was cancelled"), "{told}");
    assert_eq!(node.ok("job list --state done").lines().count(), 2);
    assert!(node.fails("job show 9", 3).contains("job '9' does not exist"));
}
