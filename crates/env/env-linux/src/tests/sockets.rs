use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use quarry_env::{Address, DetachedStream, Env, Stream};

use super::{directory, pattern, run};
use crate::{Core, CoreConfig};

fn any_port() -> Address {
    Address::Tcp("127.0.0.1:0".parse().expect("an address"))
}

/// Sends back what it receives, in pieces, until the peer closes.
async fn echo(env: Env, stream: Rc<dyn Stream>) {
    loop {
        let (mut buffer, received) = stream.receive(env.buffers.allocate(64 << 10), 0).await;
        match received {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.set_length(count),
        }
        let view = buffer.freeze();
        let middle = view.len() / 2;
        let (first, second) = (view.slice(0..middle), view.slice(middle..view.len()));
        if stream.send(vec![first, second]).await.is_err() {
            return;
        }
    }
}

async fn receive_exactly(env: &Env, stream: &Rc<dyn Stream>, length: usize) -> Vec<u8> {
    let mut buffer = env.buffers.allocate(length);
    let mut filled = 0;
    while filled < length {
        let (returned, received) = stream.receive(buffer, filled).await;
        buffer = returned;
        filled += received.expect("the peer sends");
    }
    buffer.to_vec()
}

async fn echo_round_trip(env: Env, address: Address) {
    let listener = env.network.listen(&address).await.expect("a listener");
    let address = listener.local_address();
    let server = env.clone();
    env.spawner
        .spawn(async move {
            loop {
                let (stream, peer) = listener.accept().await.expect("a connection");
                assert!(!peer.is_empty());
                server.spawner.spawn(echo(server.clone(), stream)).detach();
            }
        })
        .detach();
    let stream = env.network.connect(&address).await.expect("a connection");
    for length in [1, 512, 4096, 100_000, 5 << 20] {
        // Scattered on purpose: each view twice, so that the vector does not merge.
        let view = pattern(&env, length, length as u64);
        let sending = stream.send(vec![view.clone(), view.clone()]);
        let received = receive_exactly(&env, &stream, 2 * length).await;
        sending.await.expect("all is sent");
        assert_eq!(received[..length], view[..]);
        assert_eq!(received[length..], view[..]);
    }
}

#[test]
fn tcp_echoes() {
    run(|env| echo_round_trip(env, any_port()));
}

#[test]
fn unix_sockets_echo() {
    let directory = directory();
    let path = directory.path().join("socket");
    let address = Address::Unix(path.clone());
    run(|env| echo_round_trip(env, address));
    assert!(!path.exists(), "the socket file goes with its listener");
}

#[test]
fn a_stale_socket_file_is_replaced_and_a_live_one_is_not() {
    let directory = directory();
    let path = directory.path().join("socket");
    drop(UnixListener::bind(&path).expect("a listener that dies"));
    let file = directory.path().join("file");
    std::fs::write(&file, b"data").expect("a file");
    run(|env| async move {
        let address = Address::Unix(path.clone());
        let listener = env.network.listen(&address).await.expect("the stale file is replaced");
        let kind = env.network.listen(&address).await.err().map(|error| error.kind());
        assert_eq!(kind, Some(ErrorKind::AddrInUse));
        let accepting = listener.accept();
        let client = UnixStream::connect(&path).expect("still the first listener");
        accepting.await.expect("a connection");
        drop(client);
        assert!(env.network.listen(&Address::Unix(file.clone())).await.is_err());
        assert_eq!(std::fs::read(&file).expect("not a socket, not touched"), b"data");
    });
}

#[test]
fn a_taken_port_is_an_error() {
    run(|env| async move {
        let listener = env.network.listen(&any_port()).await.expect("a listener");
        assert!(env.network.listen(&listener.local_address()).await.is_err());
    });
}

#[test]
fn shutdown_ends_what_waits() {
    run(|env| async move {
        let listener = env.network.listen(&any_port()).await.expect("a listener");
        let client = env.network.connect(&listener.local_address()).await.expect("a connection");
        let (server, _) = listener.accept().await.expect("a connection");
        let waiting = server.receive(env.buffers.allocate(4096), 0);
        // More than the socket's buffers take, and nobody reads.
        let view = pattern(&env, 1 << 20, 0);
        let stuck = server.send(vec![view; 64]);
        env.clock.sleep(Duration::from_millis(20)).await;
        server.shutdown();
        let (_, received) = waiting.await;
        assert!(matches!(received, Ok(0) | Err(_)));
        assert!(stuck.await.is_err());
        drop(client);
    });
}

#[test]
fn dropping_a_stream_closes_it_also_while_it_receives() {
    run(|env| async move {
        let listener = env.network.listen(&any_port()).await.expect("a listener");
        let client = env.network.connect(&listener.local_address()).await.expect("a connection");
        let (server, _) = listener.accept().await.expect("a connection");
        drop(server.receive(env.buffers.allocate(4096), 0));
        drop(server);
        let (_, received) = client.receive(env.buffers.allocate(4096), 0).await;
        assert_eq!(received.expect("the end"), 0);
        let used = env.buffers.used_bytes();
        assert_eq!(used, 0, "the abandoned receive gave its buffer back");
    });
}

#[test]
fn dropping_a_listener_frees_its_port() {
    run(|env| async move {
        let listener = env.network.listen(&any_port()).await.expect("a listener");
        let address = listener.local_address();
        drop(listener.accept());
        drop(listener);
        env.clock.sleep(Duration::from_millis(10)).await;
        env.network.listen(&address).await.expect("the port is free");
        let refused = env.network.connect(&any_port_of(&address)).await;
        assert!(refused.is_err());
    });
}

/// A port next to `address` that nobody listens on: port 1 of the loopback.
fn any_port_of(address: &Address) -> Address {
    match address {
        Address::Tcp(address) => Address::Tcp((address.ip(), 1).into()),
        Address::Unix(_) => any_port(),
    }
}

/// One core accepts, another one serves.
#[test]
fn a_stream_moves_between_cores() {
    let (streams, arriving) = async_channel::bounded::<DetachedStream>(1);
    let (addresses, address) = async_channel::bounded::<Address>(1);
    let config = CoreConfig::default();
    let accepting = Core::start("accept", 0, &config, move |env| async move {
        let listener = env.network.listen(&any_port()).await.expect("a listener");
        addresses.send(listener.local_address()).await.expect("the test waits");
        let (stream, _) = listener.accept().await.expect("a connection");
        // What was received here stays received.
        assert_eq!(receive_exactly(&env, &stream, 5).await, b"hello");
        streams.send(stream.detach()).await.expect("the other core waits");
    });
    let serving = Core::start("serve", 1, &config, move |env| async move {
        let stream = env.network.attach(arriving.recv().await.expect("a stream")).expect("one of ours");
        assert!(env.network.attach(DetachedStream(Box::new(7u32))).is_err());
        echo(env, stream).await;
    });
    let Ok(Address::Tcp(address)) = address.recv_blocking() else { panic!("no address") };
    let mut client = std::net::TcpStream::connect(address).expect("a connection");
    client.write_all(b"hello").expect("a connection");
    client.write_all(b"world").expect("a connection");
    client.shutdown(Shutdown::Write).expect("a connection");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("a connection");
    assert_eq!(answer, b"world");
    accepting.expect("a core").join().expect("a core");
    serving.expect("a core").join().expect("a core");
}

#[test]
fn a_core_that_ends_leaves_no_connection_open() {
    let directory = directory();
    let path = directory.path().join("socket");
    let address = Address::Unix(path.clone());
    let (connected, connecting) = async_channel::bounded::<()>(1);
    let client = std::thread::spawn(move || {
        connecting.recv_blocking().expect("the core listens");
        let mut client = UnixStream::connect(&path).expect("a connection");
        client.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the end of the connection");
    });
    run(|env| async move {
        let listener = env.network.listen(&address).await.expect("a listener");
        connected.send(()).await.expect("the client waits");
        let (stream, _) = listener.accept().await.expect("a connection");
        let server = env.clone();
        env.spawner.spawn(async move { echo(server, stream).await }).detach();
        assert!(listener.accept().now_or_never().is_none());
        env.clock.sleep(Duration::from_millis(20)).await;
    });
    client.join().expect("the client saw the end");
}
