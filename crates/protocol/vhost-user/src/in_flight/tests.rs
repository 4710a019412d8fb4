use std::ptr::NonNull;

use super::*;

/// Memory of this process that stands for a front end's.
struct Memory(Box<[u64]>);

impl SharedMemory for Memory {
    fn start(&self) -> NonNull<u8> {
        NonNull::from(&*self.0).cast()
    }

    fn length(&self) -> usize {
        self.0.len() * 8
    }

    fn is_lost(&self) -> bool {
        false
    }
}

const SIZE: u16 = 8;

fn memory(fill: u64) -> Rc<dyn SharedMemory> {
    Rc::new(Memory(vec![fill; queue_bytes(SIZE) / 8].into_boxed_slice()))
}

fn opened(memory: &Rc<dyn SharedMemory>, used_index: u16) -> (InFlightLog, Vec<u16>) {
    let mut log = InFlightLog::new(memory.clone(), 0, SIZE);
    let heads = log.recover(used_index).heads.into();
    (log, heads)
}

#[test]
fn the_log_is_laid_out_as_the_protocol_says() {
    assert_eq!(queue_bytes(1), 64);
    assert_eq!(queue_bytes(128), (16 + 128 * 16_usize).next_multiple_of(64));
    let shared = memory(0);
    let (mut log, _) = opened(&shared, 5);
    log.taken(3);
    log.answering(3);
    let bytes: Vec<u8> = (0..queue_bytes(SIZE)).map(|at| log.load::<u8>(at)).collect();
    assert_eq!(bytes[8..16], [1, 0, SIZE as u8, 0, 3, 0, 5, 0]);
    assert_eq!(bytes[16 + 3 * 16..][..16], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

/// Wherever a process dies between taking and answering, the next one does again exactly what has no answer in the ring.
#[test]
fn every_place_to_die_leaves_the_requests_without_an_answer() {
    // Taken 0, 1, 2; answered 1, then 0: how far that came, what the ring's index is, what is left.
    for (what, steps, used, left) in [
        ("all were taken", 0, 10, &[0, 1, 2][..]),
        ("the first is about to be answered", 1, 10, &[0, 1, 2]),
        ("it is in the ring and not struck out", 1, 11, &[0, 2]),
        ("it is struck out", 2, 11, &[0, 2]),
        ("the second is about to be answered", 3, 11, &[0, 2]),
        ("it is in the ring", 3, 12, &[2]),
        ("it is struck out, too", 4, 12, &[2]),
    ] {
        let shared = memory(0);
        let (mut log, heads) = opened(&shared, 10);
        assert!(heads.is_empty());
        [0, 1, 2].into_iter().for_each(|head| log.taken(head));
        let acts: [&dyn Fn(); 4] =
            [&|| log.answering(1), &|| log.answered(1, 11), &|| log.answering(0), &|| log.answered(0, 12)];
        acts.iter().take(steps).for_each(|act| act());
        for _ in 0..2 {
            // The second time it finds what the first one has made of it.
            assert_eq!(opened(&shared, used).1, left, "{what}");
        }
    }
}

#[test]
fn what_is_left_comes_in_the_order_in_which_it_was_taken() {
    let shared = memory(0);
    let (mut log, _) = opened(&shared, 0);
    [5, 2, 7, 0].into_iter().for_each(|head| log.taken(head));
    let (mut log, heads) = opened(&shared, 0);
    assert_eq!(heads, [5, 2, 7, 0]);
    log.answering(2);
    log.answered(2, 1);
    log.taken(2);
    assert_eq!(opened(&shared, 1).1, [5, 7, 0, 2]);
}

#[test]
fn nonsense_in_the_memory_is_bounded() {
    for fill in [u64::MAX, 0x0101_0101_0101_0101, 1] {
        let (_, heads) = opened(&memory(fill), 12345);
        assert!(heads.len() <= usize::from(SIZE) && heads.iter().all(|head| *head < SIZE), "{fill:#x}");
    }
}
