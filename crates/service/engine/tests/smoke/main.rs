//! One engine over simulated disks: each verb, each way to end, and what is there afterwards.

mod atomic;
mod bounds;
mod buckets;
mod cache_disk;
mod coded;
mod compare;
mod devices;
mod figures;
mod freeing;
mod history;
mod life;
mod node;
mod pair;
mod read_cache;
mod scrub;
mod shared;
mod silent;
mod snapshots;
mod space;
mod stored;
mod tested;
mod tiers;
mod verbs;
