//! Commands about policies, against the real API server with a node in memory behind it.
#[path = "../../../crates/control/api/tests/memory_node/mod.rs"]
mod memory_node;

mod binary;

use binary::Node;
use quarry_api_types::{Policy, VolumePolicy};

fn with_volumes() -> Node {
    let node = Node::start();
    node.ok("pool create p --device /dev/sdb");
    node.ok("volume create v --pool p --size 1GiB");
    node.ok("volume create w --pool p --size 1GiB");
    node
}

#[test]
fn a_policy_is_made_changed_and_ended() {
    let node = Node::start();
    let shown = node.ok("policy create gold --compression lz4 --quota none --time-zone Europe/Berlin \
         --snapshot 15m,for=1d --snapshot 1d,at=02:30,keep=30");
    assert!(shown.contains("Version:      1\n"), "{shown}");
    assert!(shown.contains("Snapshots:    15m keep 96, 1d at 02:30 keep 30 (Europe/Berlin)\n"), "{shown}");
    assert!(node.fails("policy create gold", 4).contains("exists already"));
    let changed = node.ok("policy set gold --compression zstd --unset quota");
    assert!(changed.contains("Compression:  zstd\n") && !changed.contains("Quota:"), "{changed}");
    assert!(
        node.fails("policy set gold --compression off --if-version 1", 4).contains("is at version 2 now")
    );
    assert!(node.fails("policy set gold", 2).contains("nothing is to be changed"));
    assert!(node.fails("policy set gold --quota 1G --unset quota", 2).contains("both set and unset"));
    assert!(node.fails("policy create iron --history 2h", 2).contains("1s to 1h"));
    assert_eq!(node.ok("policy list").lines().count(), 2);
    let policy: Policy = serde_json::from_str(&node.ok("-o json policy show gold")).unwrap();
    assert_eq!((policy.version, policy.settings.snapshots.unwrap().rules.len()), (2, 2));
    assert!(node.fails("policy show silver", 3).contains("policy 'silver' does not exist"));
    node.ok("policy delete gold");
    assert_eq!(node.ok("policy list").lines().count(), 1);
}

/// With one blank between words, however wide columns are.
fn words(text: &str) -> String {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn a_policy_is_attached_overridden_and_detached() {
    let node = with_volumes();
    node.ok("policy create gold --compression lz4 --durability always --snapshot 1h,keep=24");
    assert!(!node.ok("volume show v").contains("Policy:"));
    let attached = node.ok("policy attach gold v w");
    assert_eq!(
        attached,
        "VOLUME  POLICY  THROUGH GROUP  STATE      REASON\n\
         v       gold    -              compliant  -\n\
         w       gold    -              compliant  -\n"
    );
    assert!(node.fails("policy delete gold", 4).contains("is attached to 'v'"));
    let shown = words(&node.ok("volume show v"));
    assert!(shown.contains("Policy: gold, version 1\nCompliance: compliant\n"), "{shown}");
    let why = words(&node.ok("policy override v --compression off"));
    for line in [
        "Policy: gold, version 1, with overrides\n",
        "compression off off an override compliant -\n",
        "durability always always policy gold compliant -\n",
        "Next snapshot: 2026-11-20T09:45:00Z\n",
    ] {
        assert!(why.contains(line), "{line}{why}");
    }
    // Attaching another policy keeps what was overridden.
    node.ok("policy create silver --durability flush");
    node.ok("policy attach silver v");
    let json: VolumePolicy = serde_json::from_str(&node.ok("-o json why volume v")).unwrap();
    assert_eq!((json.policy.unwrap().as_str(), json.overrides.is_empty()), ("silver", false));
    assert!(words(&node.ok("policy override v --unset compression")).contains("Policy: silver, version 1\n"));
    node.ok("policy detach v w");
    assert!(words(&node.ok("why volume v")).contains("Compliance: unmanaged\n"));
    node.ok("policy override v --compression off");
    node.ok("policy override v --unset compression");
    assert!(node.ok("why volume v").contains("unmanaged"));
}

#[test]
fn a_group_has_a_policy_and_a_volume_is_made_under_one() {
    let node = with_volumes();
    node.ok("group create shop v w");
    node.ok("policy create gold --compression lz4 --encryption on");
    assert!(node.ok("policy attach gold --group shop").contains("Policy:  gold, version 1\n"));
    assert!(node.ok("policy show gold").contains("Groups:       shop\n"), "{}", node.ok("policy show gold"));
    node.ok("policy detach --group shop");
    let made = node.ok("volume create x --pool p --size 1GiB --policy gold --compression zstd");
    assert!(made.contains("zstd"), "{made}");
    let policy: VolumePolicy = serde_json::from_str(&node.ok("-o json why volume x")).unwrap();
    assert_eq!(policy.overrides.compression.map(|word| word.as_str()), Some("zstd"));
    assert!(node.fails("volume create y --pool p --size 1GiB --policy none", 3).contains("policy 'none'"));
    assert!(node.fails("policy attach gold", 2).contains("required"));
    assert!(node.fails("policy attach gold v --group shop", 2).contains("cannot be used with"));
}
