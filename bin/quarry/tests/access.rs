//! How the built binary proves who its user is, and how it knows the node.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test of a process needs real sockets and files"
)]

#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use memory_node::MemoryNode;
use quarry_api::{ApiTls, Guard, Service};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A node that speaks TLS, its data directory as quarryd makes it, and a home for its users.
struct Node {
    address: SocketAddr,
    token: String,
    data: TempDir,
    home: TempDir,
    _runtime: Runtime,
}

impl Node {
    fn start() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let tls = ApiTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (guard, token) = Guard::in_memory();
        let service = Service { node: Arc::new(MemoryNode::default()), guard, tls: Some(tls) };
        runtime.spawn(quarry_api::serve(listener, service, std::future::pending()));
        let (data, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        std::fs::write(data.path().join("admin.token"), format!("{}\n", token.reveal())).unwrap();
        std::fs::write(data.path().join("api-ca.pem"), authority.pem()).unwrap();
        Self { address, token: token.reveal().to_owned(), data, home, _runtime: runtime }
    }

    /// A command of somebody who may not read the data directory.
    fn command(&self, scheme: &str, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quarry"));
        command.args(line.split_whitespace()).stdin(Stdio::null());
        command.env("QUARRY_ENDPOINT", format!("{scheme}://{}", self.address)).env("HOME", self.home.path());
        for name in ["QUARRY_TOKEN", "QUARRY_TOKEN_FILE", "QUARRY_CA", "QUARRY_DATA_DIR", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command
    }

    /// A command of the node's own administrator.
    fn local(&self, line: &str) -> Command {
        let mut command = self.command("http", line);
        command.env("QUARRY_DATA_DIR", self.data.path());
        command
    }

    fn authority(&self) -> String {
        self.data.path().join("api-ca.pem").display().to_string()
    }
}

fn run(mut command: Command) -> Output {
    command.output().unwrap()
}

fn ok(command: Command) -> String {
    let output = run(command);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fails(command: Command, exit: i32) -> String {
    let output = run(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(exit), "{text}");
    text
}

#[test]
fn whoever_may_read_the_data_directory_types_no_token() {
    let node = Node::start();
    let text = fails(node.command("http", "pool list"), 7);
    assert!(text.contains("the request has no token") && text.contains("quarry login"), "{text}");
    assert!(ok(node.local("whoami")).contains("Role:     admin\n"));
    let mut nothing = node.local("whoami");
    nothing.env("QUARRY_TOKEN_FILE", "").env("QUARRY_CA", "").env("QUARRY_TOKEN", "");
    ok(nothing);
    let mut wrong = node.local("pool list");
    wrong.env("QUARRY_TOKEN", "qt_wrong");
    assert!(fails(wrong, 7).contains("none of this node"), "what is given wins over what is found");
    let mut given = node.command("http", "pool list");
    given.env("QUARRY_TOKEN", &node.token);
    ok(given);
    let file = node.data.path().join("admin.token");
    ok(node.command("http", &format!("--token-file {} pool list", file.display())));
}

#[test]
fn a_program_that_has_taken_the_port_of_a_dead_node_is_told_nothing() {
    let node = Node::start();
    let thief = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = node.local("pool list");
    command.env("QUARRY_ENDPOINT", format!("http://{}", thief.local_addr().unwrap())).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let (mut stream, _) = thief.accept().unwrap();
    let mut heard = [0; 4096];
    let length = stream.read(&mut heard).unwrap();
    drop(stream);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(heard[0], 22, "a TLS handshake and no request");
    let text = String::from_utf8_lossy(&heard[..length]).into_owned();
    assert!(!text.contains("qt_") && !text.contains("HTTP"), "{text}");
}

#[test]
fn a_login_is_kept_for_the_endpoint_with_the_authority_until_it_is_ended() {
    let node = Node::start();
    let password = node.home.path().join("password");
    std::fs::write(&password, "correct-horse\n").unwrap();
    let file = format!("--password-file {}", password.display());
    ok(node.local(&format!("user create ann --role operator {file}")));
    assert!(ok(node.local("user list")).contains("ann    operator  -"));
    let login = format!("--ca-file {} login ann {file}", node.authority());
    let told = ok(node.command("https", &login));
    assert!(told.starts_with("Logged in as ann (operator) until "), "{told}");
    let kept = node.home.path().join(format!(".config/quarry/127.0.0.1_{}.token", node.address.port()));
    assert_eq!(std::fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(kept.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let shown = ok(node.command("https", "whoami"));
    assert!(shown.contains("User:     ann\n") && shown.contains("Role:     operator\n"), "{shown}");
    assert!(fails(node.command("https", "user list"), 7).contains("does not permit list_users"));
    assert_eq!(ok(node.command("https", "logout")), "Logged out.\n");
    assert!(!kept.exists());
    fails(node.command("https", "whoami"), 5);
    std::fs::write(&password, "wrong-horse").unwrap();
    assert!(fails(node.command("https", &login), 7).contains("user or password is wrong"));
}

#[test]
fn users_tokens_tenants_and_the_log_of_it() {
    let node = Node::start();
    ok(node.local("pool create fast --device /dev/sdb"));
    let shown = ok(node.local("tenant create acme --pool fast --capacity 10GiB --volumes 3"));
    assert!(shown.contains("Capacity:  0 B of 10 GiB\n") && shown.contains("Pools:     fast\n"), "{shown}");
    let token =
        ok(node.local("token create --role tenant-user --tenant acme --life 90d --purpose terraform"));
    let as_tenant = |line: &str| {
        let mut command = node.command("http", line);
        command.env("QUARRY_TOKEN", token.trim());
        command
    };
    ok(as_tenant("volume create acme.vm --pool fast --size 8GiB"));
    fails(as_tenant("volume create vm --pool fast --size 1GiB"), 7);
    fails(as_tenant("volume create acme.big --pool fast --size 3GiB"), 6);
    assert!(ok(as_tenant("tenant list")).contains("acme        1    3  8 GiB  10 GiB  fast"));
    assert!(
        fails(node.local("tenant delete acme"), 4).contains("volume 'acme.vm' has a name of tenant 'acme'")
    );
    let shown = ok(node.local("tenant set acme --pool fast=9GiB --capacity none"));
    assert!(shown.contains("Shares:    8 GiB of 9 GiB in fast\n"), "{shown}");
    assert!(ok(node.local("tenant list")).contains("fast (9 GiB)"));
    let refused = fails(as_tenant("volume create acme.more --pool fast --size 2GiB"), 6);
    assert!(refused.contains("9 GiB together in pool 'fast', and would have 10 GiB"), "{refused}");
    ok(node.local("volume delete acme.vm"));
    ok(node.local("tenant set acme --no-pools"));
    let id = &token["qt_".len()..][..16];
    assert!(ok(node.local("token list")).contains(&format!("{id}  admin  tenant-user  acme")));
    ok(node.local(&format!("token revoke {id}")));
    fails(as_tenant("volume list"), 7);
    ok(node.local("tenant delete acme"));
    let refused = ok(node.local("audit list --kind refused"));
    assert!(refused.contains("create_volume") && refused.contains("403"), "{refused}");
    let exported = ok(node.local("audit export"));
    assert!(exported.lines().all(|line| line.contains("\"hash\":\"")) && !exported.contains(token.trim()));
    let verified = ok(node.local("audit verify"));
    assert!(verified.contains("Intact:  yes\n"), "{verified}");
    let wrong = format!("audit verify --number 1 --hash {}", "0".repeat(64));
    assert!(fails_with_output(node.local(&wrong)).contains("entry 1 has another hash"));
}

#[test]
fn a_tenant_sees_figures_of_its_own_volumes_and_its_deletions_are_done() {
    let node = Node::start();
    ok(node.local("pool create fast --device /dev/sdb"));
    ok(node.local("tenant create acme --pool fast"));
    let token = ok(node.local("token create --role tenant-user --tenant acme"));
    let as_tenant = |line: &str| {
        let mut command = node.command("http", line);
        command.env("QUARRY_TOKEN", token.trim());
        command
    };
    ok(node.local("volume create other --pool fast --size 1GiB"));
    ok(as_tenant("volume create acme.vm --pool fast --size 1GiB"));
    let shown = ok(as_tenant("volume stats"));
    assert!(shown.contains("acme.vm") && !shown.contains("other"), "{shown}");
    let shown = ok(as_tenant("volume stats -o json"));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["volume"]), (1, &"acme.vm".into()));
    assert!(ok(node.local("volume stats")).contains("other"));
    let deleted = run(as_tenant("volume delete acme.vm --wait"));
    let (told, noted) =
        (String::from_utf8(deleted.stdout).unwrap(), String::from_utf8(deleted.stderr).unwrap());
    assert_eq!((deleted.status.code(), &*told), (Some(0), "Volume acme.vm deleted.\n"), "{noted}");
    assert!(noted.contains("freed in the background"), "{noted}");
    assert!(!ok(as_tenant("volume list")).contains("acme.vm"));
}

fn fails_with_output(command: Command) -> String {
    let output = run(command);
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_token_goes_over_a_network_only_encrypted() {
    let node = Node::start();
    let mut command = node.command("http", "--endpoint http://192.0.2.1:7480 pool list");
    command.env("QUARRY_TOKEN", &node.token);
    let text = fails(command, 2);
    assert!(
        text.contains("not sent over a network in clear") && text.contains("https://192.0.2.1:7480"),
        "{text}"
    );
}
