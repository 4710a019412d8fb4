//! One engine over simulated disks: each verb, each way to end, and what is there afterwards.

mod bounds;
mod freeing;
mod life;
mod node;
mod scrub;
mod snapshots;
mod space;
mod stored;
mod verbs;
