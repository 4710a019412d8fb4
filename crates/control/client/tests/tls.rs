//! TLS and plain HTTP at one port, and by what a client knows the node.

#[path = "../../api/tests/memory_node/mod.rs"]
mod memory_node;

use std::net::SocketAddr;
use std::sync::Arc;

use memory_node::MemoryNode;
use quarry_api::{ApiTls, Guard, Service};
use quarry_api_types::{ProblemCode, Secret};
use quarry_client::{Client, ClientError, Identity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

struct Running {
    address: SocketAddr,
    token: Secret,
    authority: Vec<u8>,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

async fn start() -> Running {
    let (authority, key) = (authority(), KeyPair::generate().unwrap());
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let tls = ApiTls::from_pem(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (guard, token) = Guard::in_memory();
    let service = Service { node: Arc::new(MemoryNode::default()), guard, tls: Some(tls) };
    tokio::spawn(quarry_api::serve(listener, service, std::future::pending()));
    Running { address, token, authority: authority.pem().into_bytes() }
}

impl Running {
    fn client(&self, scheme: &str, token: Option<&str>, authority: Option<&[u8]>) -> Client {
        let identity =
            Identity { token: token.map(str::to_owned), authorities: authority.map(<[u8]>::to_vec) };
        Client::new(format!("{scheme}://{}", self.address).parse().unwrap(), identity).unwrap()
    }
}

#[tokio::test]
async fn one_port_speaks_tls_and_on_this_machine_plain_http() {
    let running = start().await;
    let token = Some(running.token.reveal());
    let over_tls = running.client("https", token, Some(&running.authority));
    assert_eq!(over_tls.list_pools().await.unwrap(), []);
    assert_eq!(running.client("http", token, None).list_pools().await.unwrap(), []);
    assert_eq!(over_tls.show_session().await.unwrap().user.as_str(), "admin");
    let nobody = running.client("https", None, Some(&running.authority));
    match nobody.list_pools().await.unwrap_err() {
        ClientError::Problem(problem) => assert_eq!(problem.code, ProblemCode::Unauthenticated),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_node_of_another_authority_is_told_nothing() {
    let running = start().await;
    let token = Some(running.token.reveal());
    for other in [Some(authority().pem().into_bytes()), None] {
        let error = running.client("https", token, other.as_deref()).list_pools().await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(
            error.root_cause().unwrap().to_lowercase().contains("certificate"),
            "{:?}",
            error.root_cause()
        );
    }
    let bad = Identity { token: Some("two\nlines".to_owned()), authorities: None };
    let made = Client::new("https://node7".parse().unwrap(), bad);
    assert!(matches!(made, Err(ClientError::BadIdentity { what: "the token", .. })));
}

#[tokio::test]
async fn what_is_neither_is_closed_and_a_silent_connection_does_not_hold_up_the_others() {
    let running = start().await;
    let _silent = TcpStream::connect(running.address).await.unwrap();
    let mut garbage = TcpStream::connect(running.address).await.unwrap();
    garbage.write_all(&[22, 3, 1, 0, 5, 1, 2, 3, 4, 5]).await.unwrap();
    let mut answer = Vec::new();
    // An alert, or nothing; in the end it is closed.
    let _ = garbage.read_to_end(&mut answer).await;
    assert!(answer.len() < 64, "{answer:?}");
    let client = running.client("https", Some(running.token.reveal()), Some(&running.authority));
    assert_eq!(client.list_pools().await.unwrap(), []);
}
