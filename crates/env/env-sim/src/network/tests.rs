//! Sockets: order, back-pressure, ends and cuts.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;
use quarry_env::{Address, Listener, Stream, View};

use crate::{Config, NetworkConfig, Process, Stuck, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Two processes and a connection between them.
struct Pair {
    world: World,
    client: Process,
    server: Process,
    near: Rc<dyn Stream>,
    far: Rc<dyn Stream>,
}

fn tcp(text: &str) -> Address {
    Address::Tcp(text.parse().unwrap())
}

fn listen(world: &World, process: &Process, address: Address) -> io::Result<Rc<dyn Listener>> {
    let env = process.env(0);
    world.block_on(process, 0, async move { env.network.listen(&address).await }, MINUTE).unwrap()
}

fn connect(world: &World, process: &Process, address: Address) -> io::Result<Rc<dyn Stream>> {
    let env = process.env(0);
    world.block_on(process, 0, async move { env.network.connect(&address).await }, MINUTE).unwrap()
}

impl Pair {
    fn new(seed: u64, network: NetworkConfig) -> Self {
        let world = World::new(seed, Config { network, ..Config::default() });
        let (client, server) = (world.process(1), world.process(1));
        let address = Address::Unix("/run/quarry.sock".into());
        let listener = listen(&world, &server, address.clone()).unwrap();
        let near = connect(&world, &client, address).unwrap();
        let accepted = world.block_on(&server, 0, listener.accept(), MINUTE).unwrap();
        let (far, _peer) = accepted.unwrap();
        Self { world, client, server, near, far }
    }

    fn receive(&self, process: &Process, stream: &Rc<dyn Stream>) -> Result<io::Result<usize>, Stuck> {
        let buffer = process.env(0).buffers.allocate(4096);
        let received = stream.receive(buffer, 0);
        self.world.block_on(process, 0, received, MINUTE).map(|(_, result)| result)
    }

    fn send(
        &self,
        process: &Process,
        stream: &Rc<dyn Stream>,
        bytes: usize,
    ) -> Result<io::Result<()>, Stuck> {
        let data = process.env(0).buffers.allocate_zeroed(bytes).freeze();
        self.world.block_on(process, 0, stream.send(vec![data]), MINUTE)
    }
}

fn is_gone(result: io::Result<impl std::fmt::Debug>) -> bool {
    let kind = result.unwrap_err().kind();
    matches!(kind, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Sends `sizes` one after the other and receives everything with buffers of `room` bytes; returns what arrived and the
/// number of receives.
fn transfer(seed: u64, sizes: Vec<usize>, room: usize) -> (Vec<u8>, Vec<u8>, usize) {
    let pair = Pair::new(seed, NetworkConfig::default());
    let sent = Rc::new(RefCell::new(Vec::new()));
    let (env, stream, log) = (pair.client.env(0), pair.near, sent.clone());
    let sender = async move {
        for (number, size) in sizes.into_iter().enumerate() {
            let mut buffer = env.buffers.allocate(size);
            let bytes = (0..size).map(|at| (at * 31 + number * 7) as u8);
            buffer.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = new);
            log.borrow_mut().extend_from_slice(&buffer);
            let view = buffer.freeze();
            let (one, other): (View, View) = (view.slice(0..size / 3), view.slice(size / 3..size));
            stream.send(vec![one, other]).await.unwrap();
        }
        stream.shutdown();
    };
    pair.client.spawn(0, sender).detach();
    let (env, far) = (pair.server.env(0), pair.far);
    let receiver = async move {
        let (mut bytes, mut receives) = (Vec::new(), 0);
        let mut buffer = env.buffers.allocate(room);
        loop {
            let (back, received) = far.receive(buffer, room / 2).await;
            receives += 1;
            match received.unwrap() {
                0 => return (bytes, receives),
                count => bytes.extend_from_slice(&back[room / 2..room / 2 + count]),
            }
            buffer = back;
        }
    };
    let (received, receives) = pair.world.block_on(&pair.server, 0, receiver, MINUTE).unwrap();
    let sent = sent.take();
    (sent, received, receives)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn bytes_arrive_in_order_whatever_the_segments(
        seed: u64,
        sizes in prop::collection::vec(1usize..100_000, 1..6),
        room in 2usize..70_000,
    ) {
        let (sent, received, _) = transfer(seed, sizes, room);
        prop_assert!(sent == received);
    }
}

#[test]
fn receives_are_short_and_large_buffers_do_not_help() {
    let counts: Vec<usize> = (0..30).map(|seed| transfer(seed, vec![100_000], 1 << 20).2).collect();
    assert!(counts.iter().any(|&count| count > 100), "{counts:?}");
    assert!(counts.iter().any(|&count| count < 20), "{counts:?}");
}

#[test]
fn a_sender_waits_for_a_receiver_that_does_not_read() {
    let network = NetworkConfig { socket_bytes: 1_000..1_001, ..NetworkConfig::default() };
    let pair = Pair::new(1, network);
    let stuck = pair.send(&pair.client, &pair.near, 1_001);
    assert!(matches!(stuck, Err(Stuck::Deadlock { .. })), "{stuck:?}");
    assert!(matches!(pair.receive(&pair.server, &pair.far), Ok(Ok(1..))));
}

#[test]
fn a_waiting_sender_learns_that_the_receiver_has_gone() {
    for seed in 0..50 {
        let network = NetworkConfig { socket_bytes: 1_000..1_001, ..NetworkConfig::default() };
        let pair = Pair::new(seed, network);
        let data = pair.client.env(0).buffers.allocate_zeroed(5_000).freeze();
        let send = pair.near.send(vec![data]);
        pair.world.run_for(Duration::from_micros(pair.world.below(300))).unwrap();
        let Pair { world, client, far, .. } = pair;
        drop(far);
        let result = world.block_on(&client, 0, send, MINUTE).unwrap();
        assert!(is_gone(result), "seed {seed}");
    }
}

#[test]
fn shutdown_ends_both_directions_behind_the_bytes() {
    for seed in 0..50 {
        let pair = Pair::new(seed, NetworkConfig::default());
        pair.send(&pair.client, &pair.near, 100).unwrap().unwrap();
        pair.near.shutdown();
        let mut received = 0;
        loop {
            match pair.receive(&pair.server, &pair.far).unwrap().unwrap() {
                0 => break,
                bytes => received += bytes,
            }
        }
        assert_eq!(received, 100);
        assert_eq!(pair.receive(&pair.client, &pair.near).unwrap().unwrap(), 0);
        assert!(is_gone(pair.send(&pair.client, &pair.near, 1).unwrap()));
    }
}

#[test]
fn shutdown_ends_a_waiting_receive() {
    let pair = Pair::new(1, NetworkConfig::default());
    let receive = pair.near.receive(pair.client.env(0).buffers.allocate(10), 0);
    pair.near.shutdown();
    let (_, result) = pair.world.block_on(&pair.client, 0, receive, MINUTE).unwrap();
    assert_eq!(result.unwrap(), 0);
}

#[test]
fn a_cut_resets_both_ends() {
    for seed in 0..20 {
        let pair = Pair::new(seed, NetworkConfig::default());
        pair.send(&pair.client, &pair.near, 100).unwrap().unwrap();
        pair.world.cut(pair.world.connections()[0]);
        while pair.receive(&pair.server, &pair.far).unwrap().is_ok() {}
        assert!(is_gone(pair.receive(&pair.client, &pair.near).unwrap()));
        assert!(is_gone(pair.send(&pair.client, &pair.near, 1).unwrap()));
        assert!(is_gone(pair.send(&pair.server, &pair.far, 1).unwrap()));
    }
}

#[test]
fn connections_are_cut_by_chance() {
    let network = NetworkConfig { cut: 1.0, ..NetworkConfig::default() };
    let pair = Pair::new(1, network);
    drop(pair.send(&pair.client, &pair.near, 100));
    assert!(is_gone(pair.receive(&pair.server, &pair.far).unwrap()));
}

#[test]
fn the_death_of_a_process_ends_or_resets_its_connections() {
    let (mut ended, mut reset) = (0, 0);
    for seed in 0..50 {
        let pair = Pair::new(seed, NetworkConfig::default());
        pair.world.kill(&pair.server);
        match pair.receive(&pair.client, &pair.near).unwrap() {
            Ok(0) => ended += 1,
            result => {
                assert!(is_gone(result));
                reset += 1;
            }
        }
        let refused = connect(&pair.world, &pair.client, Address::Unix("/run/quarry.sock".into()));
        assert_eq!(refused.map(drop).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
    assert!(ended > 10 && reset > 10, "{ended} {reset}");
}

#[test]
fn a_half_dead_connection_says_nothing() {
    let pair = Pair::new(1, NetworkConfig { half_dead: 1.0, ..NetworkConfig::default() });
    let heard = Rc::new(Cell::new(0u32));
    let (env, far, count) = (pair.server.env(0), pair.far.clone(), heard.clone());
    let listens = async move {
        while let (_, Ok(1..)) = far.receive(env.buffers.allocate(4096), 0).await {
            count.set(count.get() + 1);
        }
        panic!("a half-dead connection neither ends nor breaks");
    };
    pair.server.spawn(0, listens).detach();
    let mut sent = 0;
    while matches!(pair.send(&pair.client, &pair.near, 4096), Ok(Ok(()))) {
        sent += 1;
        assert!(sent < 10_000);
    }
    pair.world.run_for(MINUTE).unwrap();
    assert!(heard.get() <= 1_000);
    pair.world.set_frozen(pair.world.connections()[0], false);
    let before = heard.get();
    pair.world.run_for(MINUTE).unwrap();
    assert!(heard.get() > before, "it lives again");
}

#[test]
fn addresses_are_taken_chosen_and_free_again() {
    let world = World::new(1, Config::default());
    let process = world.process(1);
    let any = listen(&world, &process, tcp("127.0.0.1:0")).unwrap();
    let Address::Tcp(chosen) = any.local_address() else { panic!("a TCP address") };
    assert_ne!(chosen.port(), 0);
    let taken = listen(&world, &process, Address::Tcp(chosen)).map(drop).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    let everywhere = listen(&world, &process, tcp("0.0.0.0:10809")).unwrap();
    assert!(connect(&world, &process, tcp("127.0.0.1:10809")).is_ok());
    drop(everywhere);
    assert!(connect(&world, &process, tcp("127.0.0.1:10809")).is_err());
    assert!(listen(&world, &process, tcp("127.0.0.1:10809")).is_ok());
}

#[test]
fn the_backlog_is_bounded_and_a_closed_listener_resets_it() {
    let network = NetworkConfig { backlog_max: 2, ..NetworkConfig::default() };
    let world = World::new(1, Config { network, ..Config::default() });
    let process = world.process(1);
    let listener = listen(&world, &process, tcp("127.0.0.1:1")).unwrap();
    let first = connect(&world, &process, tcp("127.0.0.1:1")).unwrap();
    let second = connect(&world, &process, tcp("127.0.0.1:1")).unwrap();
    assert!(connect(&world, &process, tcp("127.0.0.1:1")).is_err());
    let waits = listen(&world, &process, tcp("127.0.0.1:2")).unwrap();
    let accept = waits.accept();
    drop((listener, waits));
    assert!(world.block_on(&process, 0, accept, MINUTE).unwrap().is_err());
    for stream in [first, second] {
        let receive = stream.receive(process.env(0).buffers.allocate(1), 0);
        assert!(is_gone(world.block_on(&process, 0, receive, MINUTE).unwrap().1));
    }
    assert!(world.connections().is_empty());
}

#[test]
fn a_detached_stream_that_nobody_attaches_is_closed() {
    let pair = Pair::new(1, NetworkConfig::default());
    let detached = pair.far.clone().detach();
    assert!(matches!(pair.receive(&pair.client, &pair.near), Err(Stuck::Deadlock { .. })));
    drop(detached);
    let Pair { world, client, near, .. } = pair;
    drop(near);
    world.block_on(&client, 0, async {}, MINUTE).unwrap();
    assert!(world.connections().is_empty());
}

#[test]
#[should_panic(expected = "at most one receive")]
fn two_receives_at_once_are_caught() {
    let pair = Pair::new(1, NetworkConfig::default());
    let buffers = pair.client.env(0).buffers;
    drop(pair.near.receive(buffers.allocate(10), 0));
    drop(pair.near.receive(buffers.allocate(10), 0));
}

#[test]
#[should_panic(expected = "the stream was detached")]
fn use_after_detach_is_caught() {
    let pair = Pair::new(1, NetworkConfig::default());
    drop(pair.near.clone().detach());
    pair.near.shutdown();
}
