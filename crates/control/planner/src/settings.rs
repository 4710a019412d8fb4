//! Settings of a volume against those that are meant: what differs, what can be done about it, and what cannot.

use quarry_api_types::{ChangeVolume, PolicySetting, PolicySettings, Protection, Volume};
use quarry_types::Protection as Kept;

/// What can be done about a setting that is not as it is meant to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Remedy {
    /// It is changed.
    Change,
    /// Nothing, and why.
    None(String),
}

/// The settings that a volume has, in the words of a policy. What it says of protection is that of its pool.
pub(crate) fn actual(volume: &Volume, pool: Protection) -> PolicySettings {
    PolicySettings {
        durability: Some(volume.durability),
        compression: Some(volume.compression),
        deduplication: Some(volume.deduplication),
        encrypted: Some(volume.encrypted),
        history_s: Some(volume.history_s),
        quota_bytes: Some(volume.quota_bytes.unwrap_or(0)),
        reserved_bytes: Some(volume.reserved_bytes),
        protection: Some(pool),
        qos: Some(volume.qos.clone().unwrap_or_default()),
        ..PolicySettings::default()
    }
}

/// Whether a setting is as it is meant to be, and if not, what can be done. Snapshots are not judged here.
pub(crate) fn remedy(
    setting: PolicySetting,
    intended: &PolicySettings,
    actual: &PolicySettings,
) -> Option<Remedy> {
    if intended.describe(setting) == actual.describe(setting) {
        return None;
    }
    let not_yet = |what: &str| Remedy::None(format!("{what} is stored and not carried out by this version"));
    Some(match setting {
        PolicySetting::Durability
        | PolicySetting::Compression
        | PolicySetting::Deduplication
        | PolicySetting::History
        | PolicySetting::Quota
        | PolicySetting::Reservation
        | PolicySetting::Qos => Remedy::Change,
        PolicySetting::Encryption => Remedy::None(
            "a volume is encrypted or not from its first write on: make another one with the policy and copy the data".to_owned(),
        ),
        PolicySetting::Protection => match (intended.protection, actual.protection) {
            (Some(Protection(Kept::Copies(wanted))), Some(Protection(Kept::Copies(present)))) if present >= wanted => {
                return None;
            }
            (wanted, _) => {
                let wanted = wanted.unwrap_or_default();
                Remedy::None(format!(
                    "this version protects whole pools: use one with {wanted}, or `quarry pool set POOL --protection {wanted}`"
                ))
            }
        },
        PolicySetting::Tier => not_yet("placement by tier"),
        PolicySetting::Replication => not_yet("replication"),
        PolicySetting::Snapshots => return None,
    })
}

/// The request that makes what can be changed so as it is meant to be. `None` when it is so.
pub(crate) fn change(intended: &PolicySettings, actual: &PolicySettings) -> Option<ChangeVolume> {
    fn if_other<T: PartialEq>(intended: Option<T>, actual: Option<T>) -> Option<T> {
        if intended == actual { None } else { intended }
    }
    let qos = if_other(intended.qos.as_ref(), actual.qos.as_ref()).cloned();
    let change = ChangeVolume {
        durability: if_other(intended.durability, actual.durability),
        quota_bytes: if_other(intended.quota_bytes, actual.quota_bytes),
        reserved_bytes: if_other(intended.reserved_bytes, actual.reserved_bytes),
        compression: if_other(intended.compression, actual.compression),
        deduplication: if_other(intended.deduplication, actual.deduplication),
        history_s: if_other(intended.history_s, actual.history_s),
        qos,
    };
    Some(change).filter(|change| *change != ChangeVolume::default())
}
