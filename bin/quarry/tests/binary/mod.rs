//! The built binary, and the real API server with a node in memory behind it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use quarry_api::{Guard, Service};
use quarry_api_types::Secret;
use tokio::runtime::Runtime;

use crate::memory_node::MemoryNode;

pub struct Node {
    pub memory: Arc<MemoryNode>,
    pub token: Secret,
    pub address: SocketAddr,
    _runtime: Runtime,
}

impl Node {
    pub fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let (memory, address) = (Arc::new(MemoryNode::default()), listener.local_addr().unwrap());
        let (guard, token) = Guard::in_memory();
        let service = Service { node: memory.clone(), guard, tls: None };
        runtime.spawn(quarry_api::serve(listener, service, std::future::pending()));
        Self { memory, token, address, _runtime: runtime }
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = quarry(&format!("http://{}", self.address), line);
        command.env("QUARRY_TOKEN", self.token.reveal());
        command
    }

    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs what must succeed and gives its stdout.
    pub fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{line}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs what must fail with `exit` and gives its stderr.
    pub fn fails(&self, line: &str, exit: i32) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(exit), "{line}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{line}");
        stderr(&output)
    }
}

pub fn quarry(endpoint: &str, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quarry"));
    command.args(line.split_whitespace()).env("QUARRY_ENDPOINT", endpoint).stdin(Stdio::null());
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}
