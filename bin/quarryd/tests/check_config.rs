//! The built binary judges configuration files, and writes its manual pages.
#![expect(clippy::disallowed_methods, reason = "a test of a process needs real files")]

use std::process::{Command, Output};

fn quarryd(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quarryd"));
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file with this content.
fn file(name: &str, content: &str) -> String {
    let path = format!("{}/{name}", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_right_file_is_shown_as_it_takes_effect() {
    let path = file("right.toml", "data_dir = \"/var/lib/quarry\"\ncores = 3\nscrub_days = 7\n");
    let checked = quarryd(
        &["check-config", "--config", &path],
        &[("QUARRYD_CORES", "5"), ("QUARRYD_ISCSI", "127.0.0.1:1,127.0.0.1:2")],
    );
    let shown = text(&checked.stdout);
    assert_eq!((checked.status.code(), text(&checked.stderr).as_str()), (Some(0), ""));
    let words = |key: &str| {
        let line = shown.lines().find(|line| line.split_whitespace().next() == Some(key)).unwrap_or_default();
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(words("cores"), "5 environment");
    assert_eq!(words("scrub_days"), "7 line 3");
    assert_eq!(words("iscsi"), "127.0.0.1:1 127.0.0.1:2 environment");
    assert_eq!(words("memory"), "1 GiB default");
    assert_eq!(words("nbd_tls_client_ca"), "none default");
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    for (content, said) in [
        ("data_dir = \"d\"\nmemmory = \"1GiB\"\n", ":2: unknown key 'memmory'; did you mean 'memory'?\n"),
        ("data_dir = \"d\"\n\ncores = 0\n", ":3: cores 0: a node has between 1 and 64\n"),
    ] {
        let path = file("wrong.toml", content);
        let checked = quarryd(&["check-config", "--config", &path], &[]);
        assert_eq!(checked.status.code(), Some(2));
        assert_eq!(text(&checked.stderr), format!("quarryd: {path}{said}"));
        // And the node does not start with it.
        assert_eq!(quarryd(&["--config", &path], &[]).status.code(), Some(2));
    }
    assert_eq!(quarryd(&["check-config", "--config", "/none/q.toml"], &[]).status.code(), Some(2));
}

#[test]
fn the_default_configuration_passes() {
    let path = "../../deploy/config/quarryd.toml";
    let checked = quarryd(&["check-config"], &[("QUARRYD_CONFIG", path)]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
}

#[test]
fn the_daemon_has_manual_pages() {
    let folder = format!("{}/man", env!("CARGO_TARGET_TMPDIR"));
    assert!(quarryd(&["man", &folder], &[]).status.success());
    for name in ["quarryd", "quarryd-check", "quarryd-check-config", "quarryd-keyring-change-passphrase"] {
        assert!(
            std::fs::read_to_string(format!("{folder}/{name}.8")).unwrap().contains(".SH NAME"),
            "{name}"
        );
    }
}
