//! A node with some volumes, and programs that are run against it.

use std::path::PathBuf;
use std::process::Command;

use quarry_tls::ServerTls;

use crate::support::node::{Node, Served};

pub const SIZE: u64 = 64 << 20;

/// Two cores; the volume `far` belongs to the one that accepts no connections.
pub struct Fixture {
    pub node: Node,
    pub directory: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        Self::start(tempfile::tempdir().expect("a directory"), None)
    }

    /// Two cores, their connections over TCP encrypted where `tls` says so.
    pub fn start(directory: tempfile::TempDir, tls: Option<ServerTls>) -> Self {
        let volumes = [
            Served::new("disk", SIZE),
            Served { core: 1, ..Served::new("far", SIZE) },
            Served { read_only: true, ..Served::new("fixed", SIZE) },
            Served::new("a b/ü", 1 << 20),
        ];
        Self { node: Node::start_with(directory.path(), 2, &volumes, tls), directory }
    }

    /// The path of a new file with these bytes.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).expect("the directory is ours");
        path
    }
}

/// Bytes with holes of many sizes, which differ from place to place.
pub fn sparse_bytes() -> Vec<u8> {
    let mut bytes = vec![0u8; SIZE as usize];
    let (mut at, mut step) = (0, 4096);
    while at + step < bytes.len() {
        for (index, byte) in bytes[at..at + step].iter_mut().enumerate() {
            *byte = ((at + index) / 512) as u8 ^ index as u8 | 1;
        }
        at += 3 * step;
        step = if step > 3 << 20 { 4096 } else { step * 2 - 4096 + 8192 };
    }
    bytes
}

/// Runs a program that must succeed; its standard output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let (success, output) = try_run(program, arguments);
    assert!(success, "{program} {arguments:?} failed: {output}");
    output
}

/// Runs a program; whether it succeeded, and what it said.
pub fn try_run(program: &str, arguments: &[&str]) -> (bool, String) {
    // nbdsh takes the first Python of the path, and libnbd's module belongs to that of the system.
    let path = format!("/usr/bin:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program} must be installed: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
