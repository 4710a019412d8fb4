//! The planner over a world in simulated time: what it plans is done, and time goes on, jumps and goes back.

use quarry_api_types::{
    Compression, Deduplication, Durability, MigrationState, PolicyId, PolicySettings, Protection, ReadCache,
    Tier, VolumeMigration,
};

use super::*;
use crate::intent::{Attachment, AttachmentTarget, IntendedGroup, IntendedPolicy};
use crate::mark;

struct World {
    intended: Intended,
    observed: Observed,
    now: Timestamp,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn volume(number: u128) -> ObservedVolume {
    let volume = Volume {
        id: VolumeId::from_random(number),
        name: name(&format!("v{number}")),
        pool: Some(name("p")),
        image: None,
        migration: None,
        protection: Some(Protection::default()),
        own_protection: false,
        tier: Some(Tier::Automatic),
        own_tier: false,
        size_bytes: 1 << 30,
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
        pool: ObservedPool { tiers: vec![Tier::Nvme, Tier::Hdd], committed_percent: 150 },
        snapshots: Vec::new(),
        failures: BTreeMap::new(),
    }
}

impl World {
    /// Volumes 1 and 2 in a group that has a policy, or volume 1 that has it itself.
    fn new(settings: &str, in_group: bool, now: &str) -> Self {
        let settings: PolicySettings = serde_json::from_str(settings).unwrap();
        let (policy, group) = (PolicyId::from_random(9), GroupId::from_random(8));
        let start = quarry_api_types::Timestamp::from_unix_ms(1000);
        let of_policy = IntendedPolicy { name: name("gold"), version: 1, settings, changed: start };
        let volumes: Vec<ObservedVolume> =
            if in_group { vec![volume(1), volume(2)] } else { vec![volume(1)] };
        let ids: Vec<VolumeId> = volumes.iter().map(|volume| volume.volume.id).collect();
        let target = if in_group { AttachmentTarget::Group(group) } else { AttachmentTarget::Volume(ids[0]) };
        let attachment = Attachment { policy: Some(policy), overrides: Default::default(), since: start };
        let groups = [(group, IntendedGroup { name: name("shop"), volumes: ids.clone() })].into();
        Self {
            intended: Intended::new([(policy, of_policy)].into(), [(target, attachment)].into(), groups),
            observed: Observed { volumes: ids.into_iter().zip(volumes).collect() },
            now: time(now),
        }
    }

    /// Other volumes are in the group.
    fn regroup(&mut self, numbers: &[u128]) {
        let policy = self.intended.governing(VolumeId::from_random(1)).unwrap();
        let (id, group) = policy.through_group.unwrap();
        let volumes = numbers.iter().copied().map(VolumeId::from_random).collect();
        let group = IntendedGroup { volumes, ..group.clone() };
        let policies = [(PolicyId::from_random(9), policy.policy.unwrap().clone())].into();
        let attachment = Attachment {
            policy: Some(PolicyId::from_random(9)),
            overrides: Default::default(),
            since: quarry_api_types::Timestamp::from_unix_ms(1000),
        };
        let attachments = [(AttachmentTarget::Group(id), attachment)].into();
        self.intended = Intended::new(policies, attachments, [(id, group)].into());
    }

    fn scheduled(rules: &str, now: &str) -> Self {
        let settings = format!(r#"{{"snapshots":{{"time_zone":"Europe/Berlin","rules":[{rules}]}}}}"#);
        Self::new(&settings, false, now)
    }

    fn plan(&self) -> Plan {
        plan(&self.intended, &self.observed, self.now)
    }

    fn take(&mut self, volume: VolumeId, id: SnapshotId, name: &Name) {
        let volume = self.observed.volumes.get_mut(&volume).unwrap();
        assert!(volume.snapshots.iter().all(|one| one.name != *name && one.id != id), "{name} exists");
        let snapshot = ObservedSnapshot { id, name: name.clone(), is_locked: false, is_exported: false };
        volume.snapshots.push(snapshot);
    }

    fn perform(&mut self, step: &Step) {
        match step {
            Step::Take { name, snapshots, .. } => {
                snapshots.iter().for_each(|one| self.take(one.volume, one.id, name));
            }
            Step::Expire { volume, id, .. } => {
                self.observed.volumes.get_mut(volume).unwrap().snapshots.retain(|one| one.id != *id);
            }
            Step::Change { volume, change, .. } => {
                let volume = &mut self.observed.volumes.get_mut(volume).unwrap().volume;
                volume.compression = change.compression.unwrap_or(volume.compression);
                volume.quota_bytes = change.quota_bytes.or(volume.quota_bytes);
                volume.protection = change.protection.map_or(volume.protection, |own| own.0);
                volume.tier = change.tier.map_or(volume.tier, |own| own.0);
                volume.qos = change.qos.clone().or_else(|| volume.qos.clone());
            }
        }
    }

    /// Does what is planned until nothing is; how many snapshots were taken.
    fn settle(&mut self) -> usize {
        let mut taken = 0;
        for _ in 0..4 {
            let plan = self.plan();
            taken += plan.steps.iter().filter(|step| step.kind() == StepKind::Take).count();
            plan.steps.iter().for_each(|step| self.perform(step));
            if plan.steps.is_empty() {
                return taken;
            }
        }
        panic!("it does not settle: {:?}", self.plan().steps);
    }

    /// Lets `minutes` go by, minute by minute.
    fn run(&mut self, minutes: i64) -> usize {
        let mut taken = 0;
        for _ in 0..minutes {
            self.jump(60);
            taken += self.settle();
        }
        taken
    }

    /// The clock jumps by so many seconds.
    fn jump(&mut self, seconds: i64) {
        self.now = Timestamp::from_second(self.now.as_second() + seconds).unwrap();
    }

    fn names(&self) -> Vec<&str> {
        self.observed.volumes[&VolumeId::from_random(1)]
            .snapshots
            .iter()
            .map(|one| one.name.as_str())
            .collect()
    }
}

const QUARTERS: &str = r#"{"every":"15m","keep":4},{"every":"1h","keep":3},{"every":"1d","keep":2}"#;

#[test]
fn a_schedule_keeps_grandfather_father_and_son() {
    let mut world = World::scheduled(QUARTERS, "2026-11-18T23:00:00Z");
    world.settle();
    assert_eq!(world.run(2 * 24 * 60), 2 * 24 * 4);
    // Midnight in Berlin is 23:00 UTC; the newest day's snapshot is an hour's and a quarter's as well.
    assert_eq!(
        world.names(),
        [
            "auto-20261119T2300Z",
            "auto-20261120T2100Z",
            "auto-20261120T2200Z",
            "auto-20261120T2215Z",
            "auto-20261120T2230Z",
            "auto-20261120T2245Z",
            "auto-20261120T2300Z"
        ]
    );
}

#[test]
fn what_was_missed_is_made_up_for_once() {
    let mut world = World::scheduled(QUARTERS, "2026-11-20T10:00:00Z");
    world.settle();
    world.run(60);
    let before = world.names().len();
    world.jump(3 * 3600 + 60);
    assert_eq!(world.settle(), 1, "after a stop of three hours");
    assert!(world.names().contains(&"auto-20261120T1400Z") && world.names().len() >= before);
    assert_eq!(world.settle(), 0, "however often it is looked at");
}

#[test]
fn a_clock_that_jumps_forward_and_back_loses_no_more_than_a_snapshot_of_each_rule() {
    let mut world = World::scheduled(QUARTERS, "2026-11-20T10:00:00Z");
    world.settle();
    world.run(26 * 60);
    let before: Vec<String> = world.names().into_iter().map(str::to_owned).collect();
    let real = world.now;
    world.jump(10 * 365 * 86400);
    assert_eq!(world.settle(), 1);
    let kept = before.iter().filter(|name| world.names().contains(&name.as_str())).count();
    assert!(kept >= before.len() - 3, "{kept} of {}", before.len());
    // Back in the present it goes on at once, beside the one from the future.
    world.now = real;
    assert_eq!(world.settle(), 1);
    assert_eq!(world.run(60), 4);
    assert!(world.names().last().unwrap().starts_with("auto-20261121"), "{:?}", world.names());
}

#[test]
fn a_clock_that_goes_back_uses_names_that_are_free() {
    let mut world = World::scheduled(r#"{"every":"15m","keep":20}"#, "2026-11-20T10:00:00Z");
    world.settle();
    world.run(60);
    assert_eq!(world.names().len(), 5);
    world.jump(-1800);
    assert_eq!(world.settle(), 1);
    assert_eq!(world.names().last(), Some(&"auto-20261120T1030Z-2"));
    assert_eq!(world.run(30), 2, "it goes on in time and does not wait for the clock to catch up");
    assert_eq!(world.names()[6..], ["auto-20261120T1045Z-2", "auto-20261120T1100Z-2"]);
    world.jump(-20);
    assert_eq!(world.settle(), 0, "a clock that is corrected by seconds is waited for");
}

#[test]
fn daylight_saving_neither_doubles_nor_leaves_out() {
    for (start, hours) in [("2026-10-24T22:00:00Z", 25), ("2026-03-28T23:00:00Z", 23)] {
        let mut world = World::scheduled(r#"{"every":"15m","keep":900}"#, start);
        world.settle();
        assert_eq!(world.run(hours * 60), hours as usize * 4, "{start}");
        let mut world = World::scheduled(r#"{"every":"1d","keep":30,"at":"02:30"}"#, start);
        world.settle();
        assert_eq!(world.run(hours * 60), 1, "{start}");
    }
}

#[test]
fn snapshots_made_by_hand_are_never_deleted_whatever_their_names() {
    let mut world = World::scheduled(r#"{"every":"15m","keep":1}"#, "2026-11-20T10:01:00Z");
    let volume = VolumeId::from_random(1);
    // One of them under the very name that the schedule is about to give.
    for (number, text) in [(50, "auto-20261120T1015Z"), (51, "monday")] {
        world.take(volume, SnapshotId::from_random(number), &name(text));
    }
    world.settle();
    world.run(60);
    assert_eq!(world.names(), ["auto-20261120T1015Z", "monday", "auto-20261120T1100Z"]);
    // A snapshot of a schedule that got another name is kept too.
    let renamed = mark::snapshot_id(volume, Slot(1_700_000_000), 1);
    world.take(volume, renamed, &name("keep-me"));
    world.run(60);
    assert!(world.names().contains(&"keep-me"));
}

#[test]
fn what_is_locked_or_exported_stays_until_it_is_not() {
    let mut world = World::scheduled(r#"{"every":"15m","keep":1}"#, "2026-11-20T10:00:00Z");
    world.settle();
    let volume = VolumeId::from_random(1);
    world.observed.volumes.get_mut(&volume).unwrap().snapshots[0].is_locked = true;
    world.run(15);
    assert_eq!(world.names().len(), 2);
    let judged = judge(&world.intended, &world.observed, &world.observed.volumes[&volume], &[], world.now);
    assert_eq!(judged.schedule.unwrap().kept[0].kept_by, ["a lock"]);
    world.observed.volumes.get_mut(&volume).unwrap().snapshots[0].is_locked = false;
    world.settle();
    assert_eq!(world.names(), ["auto-20261120T1015Z"]);
}

#[test]
fn nothing_is_taken_for_a_time_before_the_policy_was_attached() {
    let mut world = World::scheduled(r#"{"every":"1d","keep":3}"#, "2026-11-20T10:00:00Z");
    let now = quarry_api_types::Timestamp::from_unix_ms(world.now.as_millisecond() as u64);
    let settings = world.intended.governing(VolumeId::from_random(1)).unwrap().settings;
    let id = PolicyId::from_random(9);
    let policy = IntendedPolicy { name: name("gold"), version: 2, settings, changed: now };
    let target = AttachmentTarget::Volume(VolumeId::from_random(1));
    let attachment = Attachment { policy: Some(id), overrides: Default::default(), since: now };
    world.intended = Intended::new([(id, policy)].into(), [(target, attachment)].into(), [].into());
    assert_eq!(world.run(12 * 60), 0);
    assert_eq!(world.run(2 * 60), 1);
    // A clock that was wrong when it was attached does not hold the schedule up.
    world.observed.volumes.values_mut().for_each(|volume| volume.snapshots.clear());
    world.jump(-400 * 86400);
    assert_eq!(world.settle(), 1);
}

#[test]
fn the_volumes_of_a_group_are_snapshotted_together() {
    let settings = r#"{"snapshots":{"rules":[{"every":"1h","keep":2}]}}"#;
    let mut world = World::new(settings, true, "2026-11-20T10:00:00Z");
    let plan = world.plan();
    let [Step::Take { group: Some(_), snapshots, .. }] = &plan.steps[..] else { panic!("{:?}", plan.steps) };
    assert_eq!(snapshots.len(), 2);
    assert_eq!(plan.next, Some(time("2026-11-20T11:00:00Z")));
    world.settle();
    world.run(3 * 60);
    for volume in world.observed.volumes.values() {
        assert_eq!(volume.snapshots.len(), 2, "{}", volume.volume.name);
    }
    // One that joins later begins with the others, and costs them nothing.
    let third = volume(3);
    let id = third.volume.id;
    world.observed.volumes.insert(id, third);
    world.regroup(&[1, 2, 3]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.run(60), 1);
    assert_eq!(world.observed.volumes[&id].snapshots.len(), 1);
}

#[test]
fn settings_are_changed_where_that_can_be_and_judged_where_not() {
    let settings =
        r#"{"compression":"lz4","quota_bytes":4096,"encrypted":true,"protection":"copies:3","tier":"nvme"}"#;
    let mut world = World::new(settings, false, "2026-11-20T10:00:00Z");
    let id = VolumeId::from_random(1);
    let plan = world.plan();
    assert_eq!(plan.steps.len(), 1);
    assert_eq!(
        plan.steps[0].to_string(),
        "set compression to lz4, quota to 4 KiB, protection to copies:3, tier to nvme of volume v1"
    );
    let judged =
        judge(&world.intended, &world.observed, &world.observed.volumes[&id], &plan.steps, world.now);
    assert_eq!((judged.state, judged.plan.len()), (ComplianceState::Violated, 1));
    let state = |setting| judged.settings.iter().find(|one| one.setting == setting).unwrap();
    assert_eq!(state(PolicySetting::Compression).state, ComplianceState::Converging);
    for setting in [PolicySetting::Protection, PolicySetting::Tier] {
        assert_eq!(state(setting).state, ComplianceState::Converging);
    }
    let reason = state(PolicySetting::Encryption).reason.as_ref().unwrap();
    assert!(reason.contains("from its first write on"), "{reason}");
    assert!(plan.volumes[0].reason.as_ref().unwrap().starts_with("encryption: "));
    world.settle();
    assert!(world.plan().steps.is_empty());
}

#[test]
fn a_tier_that_the_pool_does_not_have_is_a_violation_even_when_the_volume_is_set_to_it() {
    let mut world = World::new(r#"{"tier":"pmem"}"#, false, "2026-11-20T10:00:00Z");
    assert_eq!(world.plan().steps.len(), 1, "it is set, for the day that the devices come");
    world.settle();
    let stand = &world.plan().volumes[0];
    assert_eq!(stand.state, ComplianceState::Violated);
    let reason = stand.reason.as_ref().unwrap();
    assert!(reason.starts_with("tier: its pool has no tier pmem (it has nvme, hdd)"), "{reason}");
    let volume = world.observed.volumes.values_mut().next().unwrap();
    volume.pool.tiers.insert(0, Tier::Pmem);
    assert_eq!(world.plan().volumes[0].state, ComplianceState::Compliant);
}

#[test]
fn a_pool_that_is_over_committed_beyond_what_the_policy_allows_is_a_violation() {
    for (limit, state) in
        [(100, ComplianceState::Violated), (150, ComplianceState::Compliant), (0, ComplianceState::Compliant)]
    {
        let settings = format!(r#"{{"overcommit_limit_percent":{limit}}}"#);
        let mut world = World::new(&settings, false, "2026-11-20T10:00:00Z");
        world.settle();
        let stand = &world.plan().volumes[0];
        assert_eq!(stand.state, state, "{limit}");
        let reason = stand.reason.clone().unwrap_or_default();
        assert_eq!(reason.contains("are 1.50 times as large as what that holds"), limit == 100, "{reason}");
    }
}

#[test]
fn a_volume_that_moves_is_waited_for_and_one_that_has_stopped_on_its_way_is_told_again() {
    let mut world =
        World::new(r#"{"compression":"lz4","protection":"copies:3"}"#, false, "2026-11-20T10:00:00Z");
    let id = VolumeId::from_random(1);
    let mut moves = |state, reason: Option<&str>| {
        let migration = VolumeMigration {
            to_pool: None,
            to_device: None,
            state,
            reason: reason.map(str::to_owned),
            copied_bytes: 0,
            verified_bytes: 0,
            repaired_bytes: 0,
            bytes_per_s: 0,
            left_s: None,
            rate_bytes_per_s: None,
        };
        world.observed.volumes.get_mut(&id).unwrap().volume.migration = Some(migration);
        world.plan()
    };
    let plan = moves(MigrationState::Copying, None);
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    assert_eq!(plan.volumes[0].state, ComplianceState::Converging);
    let plan = moves(MigrationState::Stopped, Some("no space"));
    let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
    assert_eq!(steps, ["set protection to copies:3 of volume v1"]);
    assert_eq!(plan.volumes[0].state, ComplianceState::Violated);
    let reason = plan.volumes[0].reason.as_ref().unwrap();
    assert!(reason.ends_with("its migration has stopped: no space"), "{reason}");
}

#[test]
fn quality_of_service_is_carried_out_like_other_settings() {
    let mut world = World::new(r#"{"qos":{"iops_max":500,"burst_s":2}}"#, false, "2026-11-20T10:00:00Z");
    let plan = world.plan();
    let step = "set quality of service to at most 500 IOPS, burst 2 s of volume v1";
    assert_eq!(plan.steps.iter().map(Step::to_string).collect::<Vec<_>>(), [step]);
    assert_eq!(plan.volumes[0].state, ComplianceState::Converging);
    world.settle();
    let plan = world.plan();
    assert!(plan.steps.is_empty());
    assert_eq!(plan.volumes[0].state, ComplianceState::Compliant);
}

#[test]
fn a_step_that_fails_is_a_violation_with_its_reason() {
    let mut world = World::new(r#"{"compression":"lz4"}"#, false, "2026-11-20T10:00:00Z");
    let id = VolumeId::from_random(1);
    assert_eq!(world.plan().volumes[0].state, ComplianceState::Converging);
    let failures = &mut world.observed.volumes.get_mut(&id).unwrap().failures;
    failures.insert(StepKind::Change, "the pool is full".to_owned());
    let stand = &world.plan().volumes[0];
    assert_eq!(stand.state, ComplianceState::Violated);
    assert_eq!(stand.reason.as_deref(), Some("compression: the pool is full"));
    assert_eq!(world.plan().steps.len(), 1, "and it is tried again");
}

#[test]
fn pools_with_more_copies_than_asked_for_are_good_enough() {
    let settings =
        PolicySettings { protection: Some(Protection::default()), tier: None::<Tier>, ..Default::default() };
    let json = serde_json::to_string(&settings).unwrap();
    assert_eq!(
        World::new(&json, false, "2026-11-20T10:00:00Z").plan().volumes[0].state,
        ComplianceState::Compliant
    );
}
