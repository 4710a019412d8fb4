//! A session: a good login, then any bytes in pieces of any size. What comes back is units, one behind the other.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use quarry_env::Executor;
use quarry_fuzz::unit::One;
use quarry_fuzz::world::{Once, Script, Time, env};
use quarry_iscsi_wire::pdu::{HEADER_BYTES, Header, opcode, padding};
use quarry_iscsi::{Connection, Server, Target};
use quarry_target::{Exports, HandOver, Reservations};

struct Alone;

impl HandOver<Connection> for Alone {
    fn core(&self) -> usize {
        0
    }
    fn hand_over(&self, _: usize, _: Connection) {
        unreachable!("there is one core");
    }
}

fn login() -> Vec<u8> {
    let text = b"InitiatorName=iqn.i\0TargetName=iqn.2026-11.io.quarry:fuzz\0InitialR2T=No\0";
    let mut header = Header::new(opcode::LOGIN);
    header.0[0] |= 0x40;
    header.0[1] = 0x87;
    header.set_data_bytes(text.len());
    let mut bytes = [&header.0[..], text].concat();
    bytes.resize(bytes.len() + padding(text.len()), 0);
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, data)) = data.split_first() else { return };
    let mut executor = Executor::new(|| {}).with_live_tasks();
    let env = env(&executor, Rc::<Time>::default());
    let (volumes, access) = One::new(env.buffers.clone());
    let exports = Exports::default();
    let target = Target::new("fuzz", vec![], exports.clone(), access, Reservations::default());
    let server = Server::new(env.clone(), target, volumes, Rc::new(Alone), 64 << 20);
    let script = Script::new([&login(), data].concat(), 1 + 16 * usize::from(piece), false);
    env.spawner.spawn(server.serve(Once::new(script.clone()))).detach();
    executor.run(100_000);
    assert!(exports.sessions().is_empty(), "the initiator has gone, and the session with it");
    exports.stop();
    executor.run(1000);
    executor.clear();
    let answers = script.answers.borrow();
    let mut at = 0;
    while at < answers.len() {
        assert!(answers.len() - at >= HEADER_BYTES, "whole units");
        let header = Header::decode(&answers[at..]);
        at += HEADER_BYTES + header.data_bytes() + padding(header.data_bytes());
    }
    assert_eq!(at, answers.len(), "whole units");
});
