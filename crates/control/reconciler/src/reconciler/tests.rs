//! The loop in simulated time, over a world that fails and is stopped in the middle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use quarry_api_types::{
    ComplianceState, Compression, CreateVolume, Deduplication, Durability, Name, PolicyId, PolicySettings,
    ReadCache, Tier, Volume,
};
use quarry_planner::{
    Attachment, AttachmentTarget, Intended, IntendedPolicy, ObservedPool, ObservedSnapshot, ObservedVolume,
};

use super::*;

/// What lasts when the node is stopped.
struct Disk {
    intended: Intended,
    observed: Mutex<Observed>,
    clock: Mutex<Timestamp>,
    started: Instant,
    /// Steps that are done before the node is stopped; then what it does counts no more.
    steps_left: AtomicUsize,
    /// Volumes on which nothing works.
    broken: Vec<VolumeId>,
    states: Mutex<Vec<ComplianceState>>,
    looks: AtomicUsize,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn volume(number: u128) -> ObservedVolume {
    let CreateVolume { name, pool, size_bytes, .. } =
        CreateVolume::new(name(&format!("v{number}")), name("p"), 1 << 30);
    let volume = Volume {
        id: VolumeId::from_random(number),
        name,
        pool: Some(pool),
        image: None,
        migration: None,
        protection: None,
        own_protection: false,
        tier: None,
        own_tier: false,
        size_bytes,
        durability: Durability::Flush,
        used_bytes: 0,
        quota_bytes: None,
        reserved_bytes: 0,
        compression: Compression::Off,
        deduplication: Deduplication::Off,
        read_cache: ReadCache::On,
        history_s: 0,
        history: None,
        encrypted: false,
        locked: false,
        block_bytes: 4096,
        core: 0,
        exported: false,
        snapshots: 0,
        origin: None,
        group: None,
        qos: None,
        qos_status: None,
    };
    ObservedVolume {
        volume,
        pool: ObservedPool { tiers: vec![Tier::Ssd], committed_percent: 0 },
        snapshots: Vec::new(),
        failures: BTreeMap::new(),
    }
}

fn settings() -> PolicySettings {
    let rules = r#"{"every":"15m","keep":3},{"every":"1h","keep":2}"#;
    serde_json::from_str(&format!(r#"{{"compression":"lz4","snapshots":{{"rules":[{rules}]}}}}"#)).unwrap()
}

impl Disk {
    fn new(volumes: u128) -> Self {
        let (policy, at) = (PolicyId::from_random(99), quarry_api_types::Timestamp::from_unix_ms(1000));
        let gold = IntendedPolicy { name: name("gold"), version: 1, settings: settings(), changed: at };
        let all: Vec<ObservedVolume> = (1..=volumes).map(volume).collect();
        let attached = all.iter().map(|volume| {
            let attachment = Attachment { policy: Some(policy), overrides: Default::default(), since: at };
            (AttachmentTarget::Volume(volume.volume.id), attachment)
        });
        Self {
            intended: Intended::new([(policy, gold)].into(), attached.collect(), BTreeMap::new()),
            observed: Mutex::new(Observed {
                volumes: all.into_iter().map(|one| (one.volume.id, one)).collect(),
            }),
            clock: Mutex::new("2026-11-20T10:00:00Z".parse().unwrap()),
            started: Instant::now(),
            steps_left: AtomicUsize::new(usize::MAX),
            broken: Vec::new(),
            states: Mutex::default(),
            looks: AtomicUsize::new(0),
        }
    }

    fn names(&self, number: u128) -> Vec<String> {
        let observed = self.observed.lock().unwrap();
        observed.volumes[&VolumeId::from_random(number)]
            .snapshots
            .iter()
            .map(|one| one.name.to_string())
            .collect()
    }
}

#[async_trait]
impl World for Disk {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.started.elapsed().as_secs()).unwrap();
        Timestamp::from_second(self.clock.lock().unwrap().as_second() + elapsed).unwrap()
    }

    async fn look(&self) -> Option<(Intended, Observed)> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Some((self.intended.clone(), self.observed.lock().unwrap().clone()))
    }

    async fn perform(&self, step: &Step) -> Result<(), StepError> {
        if step.volumes().iter().any(|volume| self.broken.contains(volume)) {
            return Err(StepError("the pool is full".to_owned()));
        }
        let is_left = |left: usize| left.checked_sub(1);
        if self.steps_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_err() {
            return std::future::pending().await;
        }
        let mut observed = self.observed.lock().unwrap();
        match step {
            Step::Take { name, snapshots, .. } => {
                for one in snapshots {
                    let all = &mut observed.volumes.get_mut(&one.volume).unwrap().snapshots;
                    assert!(all.iter().all(|other| other.id != one.id), "{name} is taken twice");
                    let (id, name) = (one.id, name.clone());
                    all.push(ObservedSnapshot { id, name, is_locked: false, is_exported: false });
                }
            }
            Step::Expire { volume, id, .. } => {
                observed.volumes.get_mut(volume).unwrap().snapshots.retain(|one| one.id != *id);
            }
            Step::Change { volume, change, .. } => {
                let volume = &mut observed.volumes.get_mut(volume).unwrap().volume;
                volume.compression = change.compression.unwrap_or(volume.compression);
            }
        }
        Ok(())
    }

    async fn note(&self, plan: &Plan) {
        *self.states.lock().unwrap() = plan.volumes.iter().map(|volume| volume.state).collect();
    }
}

/// Lets a node run for so many seconds of simulated time, then stops it wherever it is.
async fn run_for(disk: &Arc<Disk>, reconciler: &Arc<Reconciler>, seconds: u64) {
    let (disk, reconciler) = (disk.clone(), reconciler.clone());
    let running = tokio::spawn(async move { reconciler.run(&*disk).await });
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    running.abort();
    let _ = running.await;
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_taken_within_a_second_and_settings_at_once() {
    let disk = Arc::new(Disk::new(2));
    let reconciler = Arc::new(Reconciler::default());
    run_for(&disk, &reconciler, 5).await;
    assert_eq!(disk.names(1), ["auto-20261120T1000Z"]);
    assert_eq!(*disk.states.lock().unwrap(), [ComplianceState::Compliant; 2]);
    run_for(&disk, &reconciler, 894).await;
    assert_eq!(disk.names(1).len(), 1);
    run_for(&disk, &reconciler, 3).await;
    assert_eq!(disk.names(1), ["auto-20261120T1000Z", "auto-20261120T1015Z"]);
    let figures = reconciler.figures();
    assert_eq!((figures.taken, figures.changed, figures.failed, figures.lag_s), (4, 2, 0, 0));
    run_for(&disk, &reconciler, 7200).await;
    assert_eq!(disk.names(2).len(), 4, "{:?}", disk.names(2));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_at_any_step_converges_when_it_runs_again() {
    let undisturbed = Arc::new(Disk::new(2));
    run_for(&undisturbed, &Arc::new(Reconciler::default()), 4 * 3600).await;
    let expected = undisturbed.names(1);
    let reached = undisturbed.looks.load(Ordering::Relaxed);
    assert!(expected.len() >= 4 && reached > 100);
    for steps in 0..60 {
        let disk = Arc::new(Disk::new(2));
        disk.steps_left.store(steps, Ordering::Relaxed);
        // It hangs in the middle of the step after the last one that counts, and is stopped there.
        run_for(&disk, &Arc::new(Reconciler::default()), 2 * 3600).await;
        disk.steps_left.store(usize::MAX, Ordering::Relaxed);
        run_for(&disk, &Arc::new(Reconciler::default()), 2 * 3600).await;
        assert_eq!(
            (disk.names(1), disk.names(2)),
            (expected.clone(), expected.clone()),
            "after {steps} steps"
        );
        assert_eq!(*disk.states.lock().unwrap(), [ComplianceState::Compliant; 2], "after {steps} steps");
    }
}

#[tokio::test(start_paused = true)]
async fn what_fails_on_one_volume_does_not_hold_up_the_other() {
    let mut disk = Disk::new(2);
    disk.broken = vec![VolumeId::from_random(1)];
    let (disk, reconciler) = (Arc::new(disk), Arc::new(Reconciler::default()));
    run_for(&disk, &reconciler, 1000).await;
    assert_eq!((disk.names(1).len(), disk.names(2).len()), (0, 2));
    assert_eq!(*disk.states.lock().unwrap(), [ComplianceState::Violated, ComplianceState::Compliant]);
    let mut observed = disk.observed.lock().unwrap().clone();
    reconciler.add_failures(&mut observed);
    let failures = &observed.volumes[&VolumeId::from_random(1)].failures;
    assert_eq!(failures.get(&StepKind::Take).map(String::as_str), Some("the pool is full"));
    assert!(reconciler.figures().failed > 100, "it is tried again and again");
    assert!(reconciler.figures().lag_s > 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_to_be_changed_any_more_has_not_failed() {
    let mut disk = Disk::new(1);
    let id = VolumeId::from_random(1);
    disk.broken = vec![id];
    let (disk, reconciler) = (Arc::new(disk), Arc::new(Reconciler::default()));
    let failures = || {
        let mut observed = disk.observed.lock().unwrap().clone();
        reconciler.add_failures(&mut observed);
        observed.volumes[&id].failures.clone()
    };
    run_for(&disk, &reconciler, 60).await;
    assert!(failures().contains_key(&StepKind::Change), "{:?}", failures());
    // Somebody has done it by hand.
    disk.observed.lock().unwrap().volumes.get_mut(&id).unwrap().volume.compression = Compression::Lz4;
    run_for(&disk, &reconciler, 60).await;
    assert!(!failures().contains_key(&StepKind::Change), "{:?}", failures());
    assert!(failures().contains_key(&StepKind::Take), "that fails still: {:?}", failures());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_or_far_ahead_is_noticed_within_seconds() {
    let disk = Arc::new(Disk::new(1));
    let reconciler = Arc::new(Reconciler::default());
    run_for(&disk, &reconciler, 3600).await;
    let before = disk.names(1);
    let jump = |seconds: i64| {
        let mut clock = disk.clock.lock().unwrap();
        *clock = Timestamp::from_second(clock.as_second() + seconds).unwrap();
    };
    jump(-5400);
    run_for(&disk, &reconciler, 3).await;
    assert_eq!(disk.names(1).last().unwrap(), "auto-20261120T0930Z", "one at once, {before:?}");
    run_for(&disk, &reconciler, 900).await;
    assert_eq!(disk.names(1).last().unwrap(), "auto-20261120T0945Z");
    jump(365 * 86400);
    run_for(&disk, &reconciler, 3).await;
    assert_eq!(disk.names(1).last().unwrap(), "auto-20271120T0945Z");
    assert!(disk.names(1).len() >= 3, "none is too old: {:?}", disk.names(1));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_what_is_intended_is_looked_at_at_once() {
    let disk = Arc::new(Disk::new(1));
    let reconciler = Arc::new(Reconciler::default());
    run_for(&disk, &reconciler, 1).await;
    let (running, again) = (disk.clone(), reconciler.clone());
    let task = tokio::spawn(async move { again.run(&*running).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let looks = disk.looks.load(Ordering::Relaxed);
    reconciler.wake();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(disk.looks.load(Ordering::Relaxed) > looks);
    task.abort();
}
