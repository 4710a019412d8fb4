//! A client of the NBD server: any bytes from the start, or behind a good negotiation of each style, in pieces of any size.
#![no_main]

use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use quarry_env::Executor;
use quarry_fuzz::unit::One;
use quarry_fuzz::world::{Once, Script, Time, env};
use quarry_nbd::{Connection, Server};
use quarry_target::{Export, Exports, HandOver, Reservations};
use quarry_volume::Volume;

const NAME: &str = "fuzz";
const OPTION_MAGIC: u64 = 0x4948_4156_454F_5054;
const GO: u32 = 7;
const STRUCTURED_REPLY: u32 = 8;
const SET_META_CONTEXT: u32 = 10;
const EXTENDED_HEADERS: u32 = 11;

struct Alone;

impl HandOver<Connection> for Alone {
    fn core(&self) -> usize {
        0
    }
    fn hand_over(&self, _: usize, _: Connection) {
        unreachable!("there is one core");
    }
}

fn option(number: u32, data: &[u8]) -> Vec<u8> {
    [&OPTION_MAGIC.to_be_bytes()[..], &number.to_be_bytes(), &(data.len() as u32).to_be_bytes(), data]
        .concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

/// What a good client says first.
fn opening(style: u8) -> Vec<u8> {
    let contexts = [string(NAME), 1u32.to_be_bytes().to_vec(), string("base:allocation")].concat();
    let mut bytes = 3u32.to_be_bytes().to_vec();
    match style {
        0 => return Vec::new(),
        1 => {}
        2 => bytes.extend([option(STRUCTURED_REPLY, &[]), option(SET_META_CONTEXT, &contexts)].concat()),
        _ => bytes.extend([option(EXTENDED_HEADERS, &[]), option(SET_META_CONTEXT, &contexts)].concat()),
    }
    bytes.extend(option(GO, &[string(NAME), vec![0, 0]].concat()));
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, data)) = data.split_first() else { return };
    let mut executor = Executor::new(|| {}).with_live_tasks();
    let env = env(&executor, Rc::<Time>::default());
    let (volumes, _) = One::new(env.buffers.clone());
    let exports = Exports::default();
    let export = Export { name: NAME.to_owned(), volume: volumes.0.info(), core: 0 };
    exports.insert(export).expect("an empty table has room");
    let reservations = Reservations::default();
    let server =
        Server::new(env.clone(), exports.clone(), volumes, Rc::new(Alone), reservations, 64 << 20, None);
    let bytes = [&opening(first & 3), data].concat();
    let script = Script::new(bytes, 1 + 8 * usize::from(first >> 2), false);
    env.spawner.spawn(server.serve(Once::new(script.clone()))).detach();
    executor.run(100_000);
    assert!(exports.sessions().is_empty(), "the client has gone, and the session with it");
    exports.stop();
    executor.run(1000);
    executor.clear();
    assert!(script.answers.borrow().starts_with(b"NBDMAGICIHAVEOPT"));
});
