//! The server itself: how it stops.

mod memory_node;

use std::sync::Arc;
use std::time::Duration;

use memory_node::{Fault, MemoryNode};
use quarry_api::{Guard, Service};
use quarry_api_types::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

fn list_pools(token: &Secret) -> Vec<u8> {
    format!("GET /v1/pools HTTP/1.1\r\nhost: node\r\nauthorization: bearer {}\r\n\r\n", token.reveal())
        .into_bytes()
}

#[tokio::test]
async fn stopping_lets_a_running_request_end_and_does_not_wait_for_idle_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let node = Arc::new(MemoryNode::default());
    let (guard, token) = Guard::in_memory();
    let service = Service { node: node.clone(), guard, tls: None };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(quarry_api::serve(listener, service, async {
        let _ = stopped.await;
    }));

    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(&list_pools(&token)).await.unwrap();
    let mut answer = vec![0; 4096];
    assert!(idle.read(&mut answer).await.unwrap() > 0);

    node.inject(Fault::Delay(Duration::from_millis(300)));
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(&list_pools(&token)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();

    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("[]"), "{answer}");
    tokio::time::timeout(Duration::from_secs(5), server).await.expect("it stops at once").unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}
