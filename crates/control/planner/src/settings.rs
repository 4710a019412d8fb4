//! Settings of a volume against those that are meant: what differs, what can be done about it, and what cannot.

use quarry_api_types::{
    ChangeVolume, MigrationState, OwnProtection, OwnTier, PolicySetting, PolicySettings, Tier, Volume,
    VolumeMigration, ratio,
};

use crate::plan::ObservedPool;

/// What can be done about a setting that is not as it is meant to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Remedy {
    /// It is changed.
    Change,
    /// Nothing, and why.
    None(String),
}

/// The settings that a volume has, in the words of a policy.
pub(crate) fn actual(volume: &Volume) -> PolicySettings {
    PolicySettings {
        durability: Some(volume.durability),
        compression: Some(volume.compression),
        deduplication: Some(volume.deduplication),
        read_cache: Some(volume.read_cache),
        encrypted: Some(volume.encrypted),
        history_s: Some(volume.history_s),
        quota_bytes: Some(volume.quota_bytes.unwrap_or(0)),
        reserved_bytes: Some(volume.reserved_bytes),
        protection: volume.protection,
        tier: volume.tier,
        qos: Some(volume.qos.clone().unwrap_or_default()),
        ..PolicySettings::default()
    }
}

/// Whether a setting is as it is meant to be, and if not, what can be done. Snapshots are not judged here.
pub(crate) fn remedy(
    setting: PolicySetting,
    intended: &PolicySettings,
    actual: &PolicySettings,
    pool: &ObservedPool,
) -> Option<Remedy> {
    if let (PolicySetting::Tier, Some(reason)) = (setting, missing_tier(intended, &pool.tiers)) {
        return Some(Remedy::None(reason));
    }
    if setting == PolicySetting::Overcommit {
        return overcommitted(intended, pool).map(Remedy::None);
    }
    if intended.describe(setting) == actual.describe(setting)
        || (setting == PolicySetting::Protection && is_protected_enough(intended, actual))
    {
        return None;
    }
    let not_yet = |what: &str| Remedy::None(format!("{what} is stored and not carried out by this version"));
    Some(match setting {
        PolicySetting::Durability
        | PolicySetting::Compression
        | PolicySetting::Deduplication
        | PolicySetting::ReadCache
        | PolicySetting::History
        | PolicySetting::Quota
        | PolicySetting::Reservation
        | PolicySetting::Protection
        | PolicySetting::Tier
        | PolicySetting::Qos => Remedy::Change,
        PolicySetting::Encryption => Remedy::None(
            "a volume is encrypted or not from its first write on: make another one with the policy and copy the data".to_owned(),
        ),
        PolicySetting::Replication => not_yet("replication"),
        PolicySetting::Snapshots | PolicySetting::Overcommit => return None,
    })
}

/// Pinned to a tier that is not there, a volume lies elsewhere, whatever its setting says.
fn missing_tier(intended: &PolicySettings, tiers: &[Tier]) -> Option<String> {
    let tier = intended.tier.filter(|tier| *tier != Tier::Automatic && !tiers.contains(tier))?;
    let present: Vec<String> = tiers.iter().map(Tier::to_string).collect();
    Some(format!(
        "its pool has no tier {tier} (it has {}), and data lies in the next slower one: add as many {tier} devices as the pool's protection needs",
        present.join(", ")
    ))
}

fn overcommitted(intended: &PolicySettings, pool: &ObservedPool) -> Option<String> {
    let limit = intended.overcommit_limit_percent.map(u64::from).filter(|&limit| limit > 0)?;
    let committed = pool.committed_percent;
    (committed > limit).then(|| {
        format!(
            "the volumes of its pool are {} times as large as what that holds: add devices, or delete volumes or move them elsewhere",
            ratio(committed)
        )
    })
}

/// More copies than are meant do no harm.
fn is_protected_enough(intended: &PolicySettings, actual: &PolicySettings) -> bool {
    match (intended.protection, actual.protection) {
        (Some(wanted), Some(present)) => present.is_at_least(wanted),
        _ => false,
    }
}

/// What of a change is for now: a volume that moves is changed when it is there. If it has stopped on its way, asking for where it goes
/// makes it go on.
pub(crate) fn now(change: ChangeVolume, migration: Option<&VolumeMigration>) -> Option<ChangeVolume> {
    let Some(migration) = migration else { return Some(change) };
    let ChangeVolume { protection, tier, .. } = change;
    let goes_on = migration.state == MigrationState::Stopped && (protection.is_some() || tier.is_some());
    goes_on.then(|| ChangeVolume { protection, tier, ..ChangeVolume::default() })
}

/// The request that makes what can be changed so as it is meant to be. `None` when it is so.
pub(crate) fn change(intended: &PolicySettings, actual: &PolicySettings) -> Option<ChangeVolume> {
    fn if_other<T: PartialEq>(intended: Option<T>, actual: Option<T>) -> Option<T> {
        if intended == actual { None } else { intended }
    }
    let qos = if_other(intended.qos.as_ref(), actual.qos.as_ref()).cloned();
    let protection = if_other(intended.protection, actual.protection);
    let protection = protection.filter(|_| !is_protected_enough(intended, actual));
    let change = ChangeVolume {
        durability: if_other(intended.durability, actual.durability),
        quota_bytes: if_other(intended.quota_bytes, actual.quota_bytes),
        reserved_bytes: if_other(intended.reserved_bytes, actual.reserved_bytes),
        compression: if_other(intended.compression, actual.compression),
        deduplication: if_other(intended.deduplication, actual.deduplication),
        read_cache: if_other(intended.read_cache, actual.read_cache),
        history_s: if_other(intended.history_s, actual.history_s),
        protection: protection.map(|own| OwnProtection(Some(own))),
        tier: if_other(intended.tier, actual.tier).map(|own| OwnTier(Some(own))),
        qos,
    };
    Some(change).filter(|change| *change != ChangeVolume::default())
}
