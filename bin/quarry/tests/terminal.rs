//! The built binary on a terminal and without one: what is asked, and what has colours.
#![expect(clippy::disallowed_types, reason = "a test of a process needs real sockets and files")]

#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use binary::Node;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// The two ends of a terminal: ours, and that of a program.
fn terminal() -> (File, File) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let path = Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
    let theirs = OpenOptions::new().read(true).write(true).open(path).unwrap();
    (File::from(ours), theirs)
}

/// What is shown until nobody has the other end any more.
fn shown(mut ours: File) -> String {
    let (mut all, mut part) = (Vec::new(), [0; 4096]);
    // Linux tells by an error that the last one has closed it.
    while let Ok(count @ 1..) = ours.read(&mut part) {
        all.extend_from_slice(&part[..count]);
    }
    String::from_utf8(all).unwrap()
}

/// Runs it on a terminal where `typed` is typed: the exit code, and what was shown.
fn on_terminal(mut command: Command, typed: &str) -> (i32, String) {
    let (mut ours, theirs) = terminal();
    ours.write_all(typed.as_bytes()).unwrap();
    command.env("TERM", "xterm").env_remove("NO_COLOR").env_remove("CLICOLOR");
    command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
    let mut child = command.stderr(theirs).spawn().unwrap();
    // It holds the program's end as well.
    drop(command);
    let shown = shown(ours);
    (child.wait().unwrap().code().unwrap(), shown)
}

fn node() -> Node {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB");
    node
}

const QUESTION: &str = "Volume v and everything on it will be destroyed. Go on? [y/N] ";

#[test]
fn somebody_at_a_terminal_is_asked_and_no_changes_nothing() {
    let node = node();
    for typed in ["n\n", "\n", "never\n", "\u{4}"] {
        let (exit, shown) = on_terminal(node.command("volume delete v"), typed);
        assert!(shown.contains(QUESTION), "{shown}");
        assert!(shown.contains("error: not confirmed; nothing was changed"), "{shown}");
        assert_eq!(exit, 1);
        assert!(node.ok("volume list").contains("\nv "));
    }
    let (exit, shown) = on_terminal(node.command("volume delete v"), "y\n");
    assert!(shown.contains(QUESTION) && shown.contains("Volume v deleted."), "{shown}");
    assert_eq!(exit, 0);
    assert!(!node.ok("volume list").contains("\nv "));
}

#[test]
fn yes_answers_and_what_can_be_undone_is_not_asked_about() {
    let node = node();
    node.ok("export create v --protocol nbd");
    for line in ["export delete v", "volume delete v --yes", "-y pool delete p"] {
        let (exit, shown) = on_terminal(node.command(line), "");
        assert!(exit == 0 && !shown.contains("Go on?"), "{line}: {shown}");
    }
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let node = node();
    // Neither standard input nor standard error is one.
    assert_eq!(node.ok("volume delete v"), "Volume v deleted.\n");
    // One of them alone is none to ask at.
    let (_ours, theirs) = terminal();
    let mut command = node.command("pool delete p");
    let output = command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    node.ok("pool create p --device /dev/sdb");
    let (ours, theirs) = terminal();
    let mut command = node.command("pool delete p");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(theirs).status().unwrap();
    drop(command);
    assert!(status.success());
    assert_eq!(shown(ours), "");
}

#[test]
fn words_of_state_have_colours_on_a_terminal_alone() {
    let node = node();
    let green = "\u{1b}[32monline\u{1b}[0m";
    let (_, shown) = on_terminal(node.command("pool list"), "");
    assert!(shown.contains(&format!("p     {green}  copies:1")), "{shown:?}");
    assert!(on_terminal(node.command("pool show p"), "").1.contains(&format!("State:       {green}\r\n")));
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR", "0"), ("TERM", "dumb")] {
        let mut command = Command::new("env");
        let plain = node.command("pool list");
        command.arg(format!("{name}={value}")).arg(plain.get_program()).args(plain.get_args());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (_, shown) = on_terminal(command, "");
        assert!(shown.contains("online") && !shown.contains('\u{1b}'), "{name}: {shown:?}");
    }
    let forced = node.command("pool list").env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(!forced.stdout.contains(&0x1b));
    for format in ["json", "yaml"] {
        let (_, shown) = on_terminal(node.command(&format!("-o {format} pool list")), "");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }
}
