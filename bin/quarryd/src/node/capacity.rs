//! What a pool holds, and how full it is.

use quarry_api_types::Capacity;
use quarry_engine::EngineStatus;
use quarry_pool::PoolShared;
use quarry_types::Protection;

/// How new data is kept with the devices that are in use.
fn protection_now(shared: &PoolShared) -> Protection {
    let (protection, usable) = (shared.protection(), shared.usable_devices());
    match usable < protection.devices() {
        true => Protection::Copies(protection.copies().min(usable).max(1) as u8),
        false => protection,
    }
}

/// All that a pool's devices hold, copies and parity included.
fn total_bytes(shared: &PoolShared) -> u64 {
    let now = protection_now(shared);
    now.stored_bytes(shared.data_chunks(now, None) * shared.geometry.segment_bytes)
}

/// What a pool holds with its own copies or parity.
pub(super) fn data_capacity_bytes(shared: &PoolShared) -> u64 {
    shared.protection().data_bytes(total_bytes(shared))
}

/// How full a pool is, all counted that keeps data: copies or parity, as each log has them.
pub(super) fn capacity(shared: &PoolShared, engines: &[EngineStatus]) -> Capacity {
    let now = protection_now(shared);
    let segment_bytes = shared.geometry.segment_bytes;
    let total_bytes = total_bytes(shared);
    let (mut reserved_bytes, mut used_bytes, mut kept_bytes) = (0, 0, 0);
    for engine in engines {
        let protection = shared.protection_of(engine.log);
        // What is in no group takes more than it will, and so does what the pool needs to work.
        let open = |bytes: u64| bytes * protection.copies() as u64;
        let ungrouped = engine.ungrouped_chunks * segment_bytes;
        reserved_bytes += open(engine.reserved_bytes) + open(ungrouped) - protection.stored_bytes(ungrouped);
        used_bytes += protection.stored_bytes(engine.live_bytes);
        kept_bytes += open(engine.set_aside_bytes);
    }
    let reserved_bytes = reserved_bytes.min(total_bytes);
    let used_bytes = used_bytes.min(total_bytes - reserved_bytes);
    let free_bytes = total_bytes - reserved_bytes - used_bytes;
    let kept_bytes = kept_bytes.min(free_bytes);
    // What is left when no write gets space any more are ends of segments and garbage that cannot be gained.
    let is_full = engines.iter().any(|engine| engine.full);
    let available_bytes = if is_full { 0 } else { now.data_bytes(free_bytes - kept_bytes) };
    Capacity { total_bytes, used_bytes, free_bytes, reserved_bytes, kept_bytes, available_bytes }
}

/// The share of what hosts can use that is used, or kept for some of them.
pub(super) fn fill_percent(capacity: &Capacity) -> u8 {
    let usable = capacity.total_bytes.saturating_sub(capacity.reserved_bytes).max(1);
    (u128::from(capacity.used_bytes + capacity.kept_bytes) * 100 / u128::from(usable)).min(100) as u8
}
