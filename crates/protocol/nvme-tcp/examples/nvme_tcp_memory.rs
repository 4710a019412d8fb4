//! Serves volumes in memory, to try hosts and to measure the server without storage:
//!
//! ```text
//! cargo run --release -p quarry-nvme-tcp --example nvme_tcp_memory -- 127.0.0.1:4420 1024      (address, size in MiB)
//! nvme connect-all -t tcp -a 127.0.0.1 -s 4420
//! ```
//!
//! Commands on standard input change things while hosts look on: `resize MIB`, `unmap`, `map`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a program of its own, not the data plane"
)]

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/support/node.rs"]
mod node;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../nbd/tests/support/volume.rs"]
mod volume;

use std::net::SocketAddr;

use node::{Node, Served};
use quarry_target::Fabric;

fn main() {
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let mut arguments = std::env::args().skip(1);
    let address: SocketAddr = arguments.next().expect("an address").parse().expect("address and port");
    // Two portals, for hosts with several paths.
    let second = SocketAddr::new(address.ip(), address.port() + 1);
    let size_mib: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1024);
    let cores: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let served =
        |name, core, number| Served { name, size_bytes: size_mib << 20, read_only: false, core, number };
    let volumes = [
        served("first", 0, 1),
        served("second", cores - 1, 2),
        Served { read_only: true, ..served("third", 0, 3) },
    ];
    let node = Node::start(&[address, second], cores, &volumes);
    println!("{:?} {}", node.addresses, node.identity.nqn);
    let mapping = node.access.view(Fabric::NvmeTcp, "", None).units.into_iter().find(|unit| unit.number == 2);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match line.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["resize", mib] => node.resize(&volumes[0], mib.parse::<u64>().expect("a number") << 20),
            ["unmap"] => node.access.unmap("second").expect("it is mapped"),
            ["map"] => {
                node.access.map((**mapping.as_ref().expect("it was mapped")).clone()).expect("it is not")
            }
            other => eprintln!("unknown: {other:?}"),
        }
        println!("done: {line}");
    }
}
