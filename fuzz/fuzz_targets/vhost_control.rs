//! Messages of a front end in any order, with any payload and any files: its connection ends at most, and leaves nothing behind.
#![no_main]

use std::collections::VecDeque;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use quarry_env::Executor;
use quarry_fuzz::peer::{FrontEnd, Part, file};
use quarry_fuzz::unit::One;
use quarry_fuzz::world::{Time, env};
use quarry_target::{Export, Exports, Reservations};
use quarry_vhost_user::Server;
use quarry_volume::Volume;

const NAME: &str = "fuzz";
const HEADER_BYTES: usize = 12;
const PROTOCOL_VERSION: u32 = 1;
const REPLY: u32 = 1 << 2;

/// One after the other: which request, its flags, which files come along, and its payload.
fn parts(mut data: &[u8]) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    while let Some(([request, flags, files, length], rest)) = data.split_first_chunk::<4>() {
        let (payload, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        // The version is right in all but a few messages, the length too.
        let version = if flags & 0xE0 == 0xE0 { u32::from(*flags) } else { PROTOCOL_VERSION };
        let flags_of_message = version | u32::from(flags & 1) << 3;
        let length = payload.len() as u32 + if flags & 0x1E == 0x1E { 8 } else { 0 };
        let header = [u32::from(*request), flags_of_message, length].map(u32::to_le_bytes).concat();
        // Signals, and pieces of memory of two sizes.
        let kinds = [0, 4096, 64 << 10, 0];
        let files = (0..files & 7)
            .map(|index| file(kinds[usize::from(files >> 3 & 3).wrapping_add(index.into()) % 4]));
        parts.push_back(([&header, payload].concat(), files.collect()));
    }
    parts
}

fuzz_target!(|data: &[u8]| {
    let mut executor = Executor::new(|| {}).with_live_tasks();
    let front = FrontEnd::new(parts(data));
    let env = front.network(env(&executor, Rc::<Time>::default()));
    let (volumes, _) = One::new(env.buffers.clone());
    let exports = Exports::default();
    let export = Export { name: NAME.to_owned(), volume: volumes.0.info(), core: 0 };
    exports.insert(export).expect("an empty table has room");
    let server = Server::new(env.clone(), exports.clone(), volumes, Reservations::default(), 1 << 20);
    let opening = server.clone();
    env.spawner.spawn(async move { opening.open(NAME, "/fuzz".into()).await.expect("a socket") }).detach();
    executor.run(100_000);
    assert!(exports.sessions().is_empty(), "the front end has gone, and the session with it");
    server.close(NAME);
    exports.stop();
    executor.run(1000);
    executor.clear();
    let answers = front.answers.borrow();
    let mut at = 0;
    while at < answers.len() {
        assert!(answers.len() - at >= HEADER_BYTES, "whole messages");
        let word =
            |place: usize| u32::from_le_bytes(answers[at + place..at + place + 4].try_into().expect("four"));
        assert_eq!(word(4) & 7, PROTOCOL_VERSION | REPLY);
        at += HEADER_BYTES + word(8) as usize;
    }
    assert_eq!(at, answers.len(), "whole messages");
});
