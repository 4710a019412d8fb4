//! Serves a volume in memory, to try clients and to measure the server without storage:
//!
//! ```text
//! cargo run --release -p quarry-nbd --example nbd_memory -- /tmp/quarry 1024      (directory, size in MiB)
//! fio --name=x --ioengine=nbd --uri='nbd+unix:///memory?socket=/tmp/quarry/nbd.sock' --rw=randread --bs=4k --iodepth=32
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program of its own, not the data plane"
)]

#[path = "../tests/support/node.rs"]
mod node;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/volume.rs"]
mod volume;

use std::path::PathBuf;

use node::{Node, Served};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().expect("the first argument is a directory"));
    let size_mib: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1024);
    std::fs::create_dir_all(&directory).expect("the directory can be made");
    let node = Node::start(&directory, 1, &[Served::new("memory", size_mib << 20)]);
    println!("{}\n{}", node.uri("memory"), node.tcp_uri("memory"));
    std::io::stdin().lines().for_each(drop);
}
