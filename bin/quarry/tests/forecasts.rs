//! Commands about what was and what is to be expected, against the real API server with a node in memory behind it.
#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use binary::Node;
use quarry_api_types::{Forecast, ForecastState, Resolution, Series, SeriesHistory};

fn with_volume() -> Node {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 4GiB");
    node
}

#[test]
fn a_history_is_a_line_and_a_table() {
    let node = with_volume();
    let shown = node.ok("history volume v --series operations");
    assert!(shown.contains("Of:       volume 'v': operations\n"), "{shown}");
    assert!(
        shown.contains("From:     2026-11-18T10:30:00Z\n") && shown.contains("Each:     hour\n"),
        "{shown}"
    );
    assert!(shown.lines().any(|line| line.starts_with('▁') && line.ends_with('█')), "{shown}");
    assert!(shown.ends_with("and 24 before these; -o json has all\n"), "{shown}");
    let found: SeriesHistory =
        serde_json::from_str(&node.ok("-o json history pool p --resolution day --from 2026-11-20T08:30:00Z"))
            .unwrap();
    assert_eq!((found.series, found.resolution, found.points.len()), (Series::Used, Resolution::Day, 2));
    assert!(node.ok("history device p /dev/sdb").contains("read-latency"));
    // Who knows nothing yet says so.
    assert!(
        node.ok("history volume v --from 2030-01-01T00:00:00Z")
            .starts_with("Nothing was kept of used of volume 'v' yet")
    );
    assert!(
        node.fails("history volume v --series stored", 2).contains("a volume has these: used, operations")
    );
    assert!(node.fails("history volume v --from yesterday", 2).contains("how long ago"));
    assert!(node.fails("history volume w", 3).contains("volume 'w' does not exist"));
}

#[test]
fn a_forecast_says_when() {
    let node = with_volume();
    let shown = node.ok("volume forecast v");
    assert!(shown.contains("Growth:    1 GiB a day\n"), "{shown}");
    assert!(shown.contains("Forecast:  full on 2026-11-24 09:30Z\n"), "{shown}");
    assert!(shown.contains("full   4 GiB  2026-11-22 09:30Z  2026-11-24 09:30Z  -\n"), "{shown}");
    assert!(shown.contains("operations/s  day"), "{shown}");
    let found: Forecast = serde_json::from_str(&node.ok("-o json pool forecast p")).unwrap();
    assert_eq!((found.object.as_str(), found.capacity.state), ("p", ForecastState::Growing));
    assert!(node.fails("pool forecast q", 3).contains("pool 'q' does not exist"));
}
