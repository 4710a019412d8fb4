//! A guest's memory with anything in it: rings, descriptors, requests and the log of requests in flight.
#![no_main]

use std::ptr::NonNull;
use std::rc::Rc;

use libfuzzer_sys::fuzz_target;
use quarry_env::SharedMemory;
use quarry_vhost_user::{GuestMap, InFlightLog, Layout, Region, Request, Verb, Virtqueue, limits};
use vm_memory::GuestAddress;

const QUEUE_SIZE: u16 = 16;
/// Close to each other, so that short inputs reach all of them.
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 16 * QUEUE_SIZE as u64;
const USED: u64 = AVAILABLE + 64;
const GUEST_BYTES: usize = 8192;
const LOG_BYTES: usize = 512;

/// Memory of this process that stands for a machine's.
struct Memory {
    words: Box<[u64]>,
}

impl Memory {
    fn new(bytes: &[u8], length: usize) -> Rc<dyn SharedMemory> {
        let mut words = vec![0u64; length / 8].into_boxed_slice();
        for (word, bytes) in words.iter_mut().zip(bytes.chunks(8)) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_le_bytes(whole);
        }
        Rc::new(Self { words })
    }
}

impl SharedMemory for Memory {
    fn start(&self) -> NonNull<u8> {
        NonNull::from(&*self.words).cast()
    }

    fn length(&self) -> usize {
        self.words.len() * 8
    }

    fn is_lost(&self) -> bool {
        false
    }
}

/// Serves a queue as a process would, until it has served enough, or the queue is broken.
fn serve(layout: Layout, log: Option<InFlightLog>, map: &Rc<GuestMap>, steps: &[u8]) {
    let Ok(mut queue) = Virtqueue::new(layout, log, map) else { return };
    let mut under_way = Vec::new();
    for step in steps {
        let more = match step % 4 {
            0 => queue.want_kicks(map).map(|_| None),
            1 if !under_way.is_empty() => {
                let request: Request = under_way.remove(usize::from(*step) % under_way.len());
                queue.answer(map, request.chain.head, 1).and_then(|()| queue.wants_call(map)).map(|_| None)
            }
            _ => queue.take(map),
        };
        let Ok(more) = more else { return };
        let Some(chain) = more else { continue };
        let Ok(request) = Request::parse(chain) else { return };
        let held = request.held_bytes();
        assert!(held <= limits::DATA_BYTES_MAX.into() && held.is_multiple_of(512));
        if let Ok(Verb::Discard(ranges) | Verb::WriteZeroes(ranges)) = &request.verb {
            assert!(!ranges.is_empty() && ranges.len() <= limits::RANGES_MAX as usize);
            assert!(ranges.iter().all(|range| range.offset.checked_add(range.bytes).is_some()));
        }
        if under_way.len() < usize::from(QUEUE_SIZE) {
            under_way.push(request);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&[flags, base, high, count], rest)) = data.split_first_chunk::<4>() else { return };
    let (steps, rest) = rest.split_at(usize::from(count).min(rest.len()));
    let (log, guest) = rest.split_at(if flags & 2 == 0 { 0 } else { LOG_BYTES.min(rest.len()) });
    let memory = Memory::new(guest, GUEST_BYTES);
    let map = Rc::new(GuestMap::from_regions(vec![Region::new(0, 0, memory)]).expect("one region"));
    let layout = Layout {
        size: QUEUE_SIZE >> (flags >> 4 & 3),
        descriptors: GuestAddress(DESCRIPTORS),
        available: GuestAddress(AVAILABLE),
        used: GuestAddress(USED),
        event_index: flags & 1 != 0,
        base: u16::from_le_bytes([base, high]),
    };
    let log = (flags & 2 != 0).then(|| Memory::new(log, LOG_BYTES));
    // The first process dies where its steps end; the second one finds what it has left.
    for _ in 0..2 {
        let log = log.clone().map(|memory| InFlightLog::new(memory, 0, layout.size));
        serve(layout, log, &map, steps);
    }
    if let Some(memory) = log {
        let unfinished = InFlightLog::new(memory, 0, layout.size).recover(0);
        assert!(unfinished.heads.len() <= usize::from(layout.size));
        assert!(unfinished.heads.iter().all(|head| *head < layout.size));
    }
});
