use quarry_api_types::{
    Health, InitiatorNames, Latency, MemoryStatus, NodeId, OperationStats, PoolsStatus, Timestamp,
    VolumeStats, VolumesStatus,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::super::view::draw;
use super::*;

fn operations(count: u64, us: u64) -> OperationStats {
    let latency = Latency { total_us: count * us, buckets: vec![(us, count)] };
    OperationStats { operations: count, errors: 0, bytes: count * 4096, latency }
}

fn volume(name: &str, number: u128, writes: u64, us: u64) -> VolumeStats {
    VolumeStats {
        volume: name.parse().unwrap(),
        volume_id: quarry_api_types::VolumeId(uuid_of(number)),
        at: Timestamp::from_unix_ms(0),
        pool: Some("fast".parse().unwrap()),
        in_flight: 3,
        read: operations(0, us),
        write: operations(writes, us),
        zero: OperationStats::default(),
        discard: OperationStats::default(),
        flush: OperationStats::default(),
    }
}

fn uuid_of(number: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(number)
}

fn seen(at_ms: u64, volumes: Vec<VolumeStats>) -> Seen {
    let at = Timestamp::from_unix_ms(at_ms);
    let status = Status {
        node_id: NodeId(uuid_of(7)),
        initiator: InitiatorNames { iqn: "iqn.x".to_owned(), nqn: "nqn.x".to_owned() },
        version: "1.2.3".to_owned(),
        uptime_s: 60,
        cores: 2,
        memory: MemoryStatus::default(),
        cache_disk: None,
        listeners: Vec::new(),
        pools: PoolsStatus { online: 1, ..PoolsStatus::default() },
        volumes: VolumesStatus::default(),
        exports: 0,
        health: Health::from_causes(Vec::new()),
    };
    let stats = NodeStats { at, volumes, devices: Vec::new(), pools: Vec::new() };
    Seen { status, stats, jobs: Vec::new() }
}

/// What a terminal of that size shows.
fn drawn(screen: &Screen) -> String {
    let mut terminal = Terminal::new(TestBackend::new(140, 10)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    terminal.backend().to_string()
}

fn screen() -> Screen {
    let mut screen = Screen::default();
    screen.take(seen(0, vec![volume("busy", 1, 0, 128), volume("slow", 2, 0, 4096)]));
    screen.take(seen(2000, vec![volume("busy", 1, 5000, 128), volume("slow", 2, 10, 4096)]));
    screen
}

fn names(screen: &Screen) -> Vec<String> {
    screen.rows().into_iter().map(|row| row.cells[0].clone()).collect()
}

#[test]
fn the_screen_shows_rates_of_volumes_and_the_health() {
    let shown = drawn(&screen());
    for text in [
        "quarry 1.2.3",
        "ok",
        "VOLUME",
        "busy",
        "fast",
        "2500",
        "9.7 MiB/s",
        "q quit",
        "sorted by operations",
    ] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
}

#[test]
fn keys_sort_and_turn_pages() {
    let mut screen = screen();
    assert_eq!(names(&screen), ["busy", "slow"]);
    assert!(screen.press(KeyCode::Char('l')));
    assert_eq!(names(&screen), ["slow", "busy"]);
    assert!(screen.press(KeyCode::Char('n')));
    assert_eq!(names(&screen), ["busy", "slow"]);
    screen.press(KeyCode::Down);
    screen.press(KeyCode::Down);
    assert_eq!(screen.first, 1, "not beyond the last row");
    screen.press(KeyCode::Tab);
    assert_eq!((screen.page, screen.first), (Page::Devices, 0));
    screen.press(KeyCode::Tab);
    let shown = drawn(&screen);
    for text in ["NODE", "SESSIONS", "00000000 ", "ok"] {
        assert!(shown.contains(text), "{text} is not in\n{shown}");
    }
    screen.press(KeyCode::Char('w'));
    assert!(drawn(&screen).contains("WORK"));
    assert!(!screen.press(KeyCode::Char('q')));
}

#[test]
fn a_node_that_does_not_answer_leaves_what_was_seen() {
    let mut screen = screen();
    screen.problem = Some("gone".to_owned());
    let shown = drawn(&screen);
    assert!(shown.contains("no answer: gone") && shown.contains("busy"), "{shown}");
}
