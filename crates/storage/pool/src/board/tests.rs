use std::cell::{Cell, RefCell};

use quarry_device::Operation;
use quarry_histogram::Histogram;

use super::*;

const PATIENCE: Duration = Duration::from_secs(15);
const LAYOUT: u64 = 7;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A board with two devices that two cores see, each with a log.
struct Tested {
    board: Board,
    layout: Cell<u64>,
    given_up: RefCell<Vec<u16>>,
}

impl Tested {
    fn new() -> Self {
        let board = Board::default();
        board.expect_logs(2);
        [0, 1].into_iter().for_each(|log| board.add_log(LogId(log)));
        let tested = Self { board, layout: Cell::new(LAYOUT), given_up: RefCell::default() };
        [0, 1].into_iter().for_each(|device| tested.pulse(1, device, None, 0));
        tested
    }

    fn pulse(&self, way: u32, device: u16, began: Option<Duration>, answered: u64) {
        let oldest =
            began.map(|began| Unanswered { operation: Operation::Write, offset: 0, length: 512, began });
        let pulse = Pulse { oldest, waiting: usize::from(oldest.is_some()), answered };
        let id = DeviceId::from_random(u128::from(device));
        let now = began.unwrap_or_default() + seconds(1);
        self.board.note(way, (device, id, DeviceClass::Ssd), pulse, now);
    }

    fn answer(&self, device: u16, answers: [bool; 2]) {
        for (log, answer) in (0..).zip(answers) {
            self.board.answer(device, LogId(log), self.layout.get(), answer);
        }
    }

    fn decide(&self, device: u16, now: Duration) -> Vec<u16> {
        let view = || (self.layout.get(), false);
        let give_up = |_| {
            self.given_up.borrow_mut().push(device);
            self.layout.set(self.layout.get() + 1);
        };
        self.board.decide(device, PATIENCE, now, view, give_up);
        self.given_up.borrow().clone()
    }
}

#[test]
fn a_silent_device_is_given_up_when_every_log_can_do_without_it() {
    let tested = Tested::new();
    tested.pulse(2, 0, Some(seconds(10)), 0);
    assert!(!tested.board.is_in_question(0, PATIENCE, seconds(24)));
    assert!(tested.board.is_in_question(0, PATIENCE, seconds(25)), "any core's operation counts");
    assert_eq!(tested.decide(0, seconds(25)), [0; 0], "nobody has said anything");
    tested.board.answer(0, LogId(0), LAYOUT, true);
    assert_eq!(tested.decide(0, seconds(25)), [0; 0], "one log has not");
    tested.board.answer(0, LogId(1), LAYOUT - 1, true);
    assert_eq!(tested.decide(0, seconds(25)), [0; 0], "of another layout");
    tested.board.answer(0, LogId(1), LAYOUT, false);
    assert_eq!(tested.decide(0, seconds(25)), [0; 0]);
    assert!(tested.board.health(0, seconds(25)).is_needed);
    tested.board.answer(0, LogId(1), LAYOUT, true);
    assert_eq!(tested.decide(0, seconds(26)), [0]);
    assert_eq!(tested.board.silent_since(0), Some(seconds(26)));
    let health = tested.board.health(0, seconds(26));
    assert!(health.was_silent && !health.is_needed && !health.answers_again);
}

#[test]
fn of_two_devices_the_second_is_judged_without_the_first() {
    let tested = Tested::new();
    for device in [0, 1] {
        tested.pulse(1, device, Some(seconds(10)), 0);
        tested.answer(device, [true, true]);
    }
    assert_eq!(tested.decide(0, seconds(30)), [0]);
    assert_eq!(tested.decide(1, seconds(30)), [0], "what was said of it was said of another layout");
    tested.answer(1, [false, true]);
    assert_eq!(tested.decide(1, seconds(30)), [0]);
}

#[test]
fn what_was_said_of_a_silence_that_has_ended_says_nothing_of_the_next() {
    let tested = Tested::new();
    tested.pulse(1, 0, Some(seconds(10)), 0);
    tested.answer(0, [true, true]);
    tested.pulse(1, 0, None, 1);
    assert_eq!(tested.decide(0, seconds(30)), [0; 0]);
    tested.pulse(1, 0, Some(seconds(40)), 1);
    assert_eq!(tested.decide(0, seconds(60)), [0; 0]);
}

#[test]
fn while_logs_are_being_opened_the_protection_decides() {
    let tested = Tested::new();
    tested.board.remove_log(LogId(1));
    tested.pulse(1, 0, Some(seconds(10)), 0);
    tested.board.answer(0, LogId(0), LAYOUT, true);
    assert_eq!(tested.decide(0, seconds(30)), [0; 0]);
    let given_up = Cell::new(false);
    tested.board.decide(0, PATIENCE, seconds(30), || (LAYOUT, true), |_| given_up.set(true));
    assert!(given_up.get());
}

#[test]
fn an_idle_device_is_asked_now_and_then_and_one_that_answers_with_errors_counts() {
    let tested = Tested::new();
    let board = &tested.board;
    assert_eq!(board.claim_probe(0, seconds(3)), None, "it was heard of");
    assert_eq!(board.claim_probe(0, seconds(10)), Some(false));
    assert_eq!(board.claim_probe(0, seconds(20)), None, "one at a time");
    board.end_probe(0, true, seconds(20));
    assert_eq!(board.claim_probe(0, seconds(21)), None);
    for probe in 0..u64::from(PROBE_ERRORS_MAX) {
        assert!(!board.is_in_question(0, PATIENCE, seconds(30 + probe)));
        assert!(board.claim_probe(0, seconds(30 + probe)).is_some(), "again at once after an error");
        board.end_probe(0, false, seconds(30 + probe));
    }
    tested.answer(0, [true, true]);
    assert_eq!(tested.decide(0, seconds(34)), [0]);
    assert_eq!(board.silent_since(0), None, "it was not silent");
    tested.pulse(1, 1, Some(seconds(30)), 0);
    assert_eq!(board.claim_probe(1, seconds(60)), None, "it owes an answer as it is");
}

#[test]
fn a_silent_device_is_back_when_it_has_answered_for_a_while_and_nothing_is_late() {
    let tested = Tested::new();
    let board = &tested.board;
    let (id, changes) = (DeviceId::from_random(0), Arc::new(AtomicU32::new(2)));
    board.count_late(id, changes.clone());
    tested.pulse(1, 0, Some(seconds(10)), 0);
    tested.answer(0, [true, true]);
    assert_eq!(tested.decide(0, seconds(30)), [0]);
    tested.pulse(1, 0, None, 1);
    for now in [40, 50, 75] {
        assert!(board.claim_probe(0, seconds(now)).is_some());
        board.end_probe(0, true, seconds(now));
    }
    assert_eq!(board.late_changes(id), 2);
    assert!(board.late_devices().contains(&id) && !board.health(0, seconds(80)).answers_again);
    changes.store(0, Ordering::Release);
    assert!(!board.health(0, seconds(65)).answers_again);
    assert!(board.health(0, seconds(80)).answers_again);
    assert!(board.claim_probe(0, seconds(90)).is_some());
    board.end_probe(0, false, seconds(90));
    assert!(!board.health(0, seconds(91)).answers_again);
    board.renew(0, seconds(100));
    assert!(!board.health(0, seconds(100)).was_silent);
}

#[test]
fn latencies_are_kept_for_a_minute() {
    let tested = Tested::new();
    let mut latencies = Latencies::default();
    let histogram = Histogram::default();
    histogram.record(Duration::from_millis(1));
    latencies.add(Operation::Read, &histogram.distribution());
    for period in 0..3 * PERIODS {
        tested.board.add_latencies(0, period, &latencies);
        tested.board.add_latencies(0, period, &latencies);
    }
    let now = PERIOD * (3 * PERIODS) as u32;
    let health = tested.board.health(0, now);
    assert_eq!(health.last_minute.of(Operation::Read).count(), 2 * PERIODS);
    assert_eq!(tested.board.health(0, now + seconds(120)).last_minute.of(Operation::Read).count(), 0);
}
