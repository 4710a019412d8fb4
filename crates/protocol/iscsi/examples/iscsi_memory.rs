//! Serves volumes in memory over iSCSI, for trying initiators: a disk as LUN 0, a read-only one as LUN 1.
//!
//! `cargo run --example iscsi_memory [MIB] [USER%SECRET]`; ends when its input does.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "an example may use the world")]

#[path = "../tests/support/mod.rs"]
mod support;

use quarry_target::{Chap, Host};
use support::node::{Node, Served};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mib: u64 = arguments.next().map_or(64, |text| text.parse().expect("a number of MiB"));
    let volumes =
        [Served::new("disk", 0, mib << 20), Served { read_only: true, ..Served::new("fixed", 1, mib << 20) }];
    let node = Node::start(1, &volumes);
    if let Some((user, secret)) = arguments.next().as_deref().and_then(|text| text.split_once('%')) {
        let everywhere =
            quarry_target::Network { address: "127.0.0.1".parse().expect("one"), prefix_bits: 8 };
        let chap = Chap { user: user.to_owned(), secret: secret.to_owned(), mutual: None };
        let host =
            Host { name: "all".to_owned(), initiators: vec![], networks: vec![everywhere], chap: Some(chap) };
        node.access.set_host(host).expect("room");
    }
    for portal in 0..2 {
        println!("{}", node.uri_of(portal, 0, ""));
    }
    let _ = std::io::read_to_string(std::io::stdin());
}
