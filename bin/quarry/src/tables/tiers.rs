//! Tiers of pools, and where volumes lie, for people.

use quarry_api_types::{PoolTiers, TierDecision, VolumePlacement};

use super::{Bytes, number, properties, size, table, text};

/// Decisions that a table shows; JSON has all that the node tells.
const DECISIONS_SHOWN_MAX: usize = 10;

pub fn pool(tiers: &PoolTiers) -> String {
    let moved = format!(
        "{} segments to a faster tier, {} to a slower one, {} copied",
        tiers.promoted_segments,
        tiers.demoted_segments,
        Bytes(tiers.moved_bytes)
    );
    let hot = format!("a segment that is read {} times in ten minutes is worth a move", tiers.heat_min);
    let rows = properties(vec![
        ("Pool", text(&tiers.pool)),
        ("Placement", text(tiers.placement)),
        ("Hot", text(hot)),
        ("Moved", text(moved)),
    ]);
    let each = tiers.tiers.iter().map(|tier| {
        vec![
            text(tier.tier),
            size(tier.total_bytes),
            size(tier.used_bytes),
            size(tier.free_bytes),
            size(tier.kept_bytes),
            size(tier.hot_bytes),
            text(tier.devices.join(", ")),
        ]
    });
    let headings = ["TIER", ">TOTAL", ">USED", ">FREE", ">KEPT FREE", ">HOT", "DEVICES"];
    format!("{rows}\n{}{}", table(&headings, each), decisions(&tiers.decisions))
}

/// Where a volume lies and why.
pub fn volume(lies: &VolumePlacement) -> String {
    let looked = if lies.exact { "every block" } else { "a sample" };
    let how = format!(
        "{}, as of {looked}: {} of {} blocks have data",
        lies.placement, lies.found_blocks, lies.sampled_blocks
    );
    let rows = properties(vec![("Placement", text(how))]);
    let each = lies.tiers.iter().map(|tier| {
        vec![
            text(tier.tier),
            number(format!("{:.1} %", tier.percent)),
            size(tier.mapped_bytes),
            number(format!("{:.1}", tier.heat)),
        ]
    });
    let headings = ["TIER", ">SHARE", ">DATA", ">READS OF A SEGMENT LATELY"];
    format!("\n{rows}\n{}{}", table(&headings, each), decisions(&lies.decisions))
}

fn decisions(decisions: &[TierDecision]) -> String {
    if decisions.is_empty() {
        return String::new();
    }
    let each = decisions.iter().take(DECISIONS_SHOWN_MAX).map(|one| {
        let rest = if one.completed { "" } else { " (not all of it yet)" };
        vec![text(one.time), text(one.reason), text(format!("{one}{rest}"))]
    });
    format!("\n{}", table(&["TIME", "REASON", "MOVED"], each))
}
