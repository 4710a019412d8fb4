use std::collections::BTreeMap;

use tempfile::TempDir;

use super::support::driver::{ALL, EVENT_INDEX, Machine, QUEUES, SLOTS, Style, kind};
use super::support::node::Node;

const SIZE: u64 = 8 << 20;
const SECTORS: u64 = SIZE / 512;

/// A generator of the test's own, so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

struct Asked {
    queue: usize,
    sectors: std::ops::Range<u64>,
    expected: Option<Vec<u8>>,
}

/// Many requests under way in all queues, none of which touch the same sectors, against an array of bytes.
fn run(seed: u64, wanted: u64) {
    let directory = TempDir::new().expect("a directory");
    let node = Node::start(directory.path(), SIZE, vec![], false);
    let mut disk = Machine::new().connect(&node.socket, wanted);
    let (mut chance, mut model) = (Chance(seed), vec![0u8; SIZE as usize]);
    let mut under_way: BTreeMap<(usize, u16), Asked> = BTreeMap::new();
    for step in 0..4000u64 {
        let queue = chance.below(QUEUES as u64) as usize;
        let sector = chance.below(SECTORS - 64);
        let sectors = sector..sector + 1 + chance.below(63);
        let is_free = under_way
            .values()
            .all(|other| other.sectors.end <= sectors.start || sectors.end <= other.sectors.start);
        let of_queue = under_way.values().filter(|other| other.queue == queue).count();
        if !is_free || of_queue >= usize::from(SLOTS) {
            let Some((&(queue, head), _)) = under_way.iter().next() else { continue };
            let asked = under_way.remove(&(queue, head)).expect("it was just seen");
            let (status, data) = disk.wait(queue, head);
            assert_eq!(status, 0, "step {step} of seed {seed}");
            assert!(asked.expected.is_none_or(|expected| expected == data), "step {step} of seed {seed}");
            continue;
        }
        let style = [Style::Direct, Style::Indirect, Style::Odd][chance.below(3) as usize];
        let bytes = (sectors.end - sectors.start) as usize * 512;
        let place = sector as usize * 512..sector as usize * 512 + bytes;
        let (head, expected) = match chance.below(5) {
            0 | 1 => {
                let data: Vec<u8> = (0..bytes).map(|at| ((at as u64 / 7) ^ step) as u8).collect();
                model[place].copy_from_slice(&data);
                (disk.submit(queue, style, kind::WRITE, sector, &data, 0), None)
            }
            2 => {
                model[place].fill(0);
                let flags = chance.below(2) as u32;
                let count = (bytes / 512) as u32;
                let range = [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat();
                (disk.submit(queue, style, kind::WRITE_ZEROES, 0, &range, 0), None)
            }
            _ => {
                let expected = model[place].to_vec();
                (disk.submit(queue, style, kind::READ, sector, &[], bytes), Some(expected))
            }
        };
        under_way.insert((queue, head), Asked { queue, sectors, expected });
    }
    for ((queue, head), asked) in under_way {
        let (status, data) = disk.wait(queue, head);
        assert!(status == 0 && asked.expected.is_none_or(|expected| expected == data), "seed {seed}");
    }
    assert!(node.content(0, SIZE as usize) == model, "seed {seed}");
}

#[test]
fn many_requests_in_many_queues_do_what_each_says() {
    run(4711, ALL);
}

#[test]
fn so_they_do_without_event_indices() {
    run(815, ALL & !EVENT_INDEX);
}
