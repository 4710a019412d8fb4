//! Volumes and consistency groups of a document.

use quarry_api_types::{
    AttachPolicy, ChangeGroup, ChangeVolume, CreateGroup, CreateVolume, Name, OwnProtection, OwnTier,
    PolicySetting, PolicySettings, Protection, QualityOfService, ResizeVolume, StatedAction, StatedKind,
    StatedVolume, Volume,
};
use quarry_types::ByteSize;

use super::present::version_of;
use super::{Planner, StateStep, Thing, list, without};

/// What a volume states itself, in the words of a policy.
fn direct(stated: &StatedVolume) -> PolicySettings {
    PolicySettings {
        durability: stated.durability,
        compression: stated.compression,
        deduplication: stated.deduplication,
        read_cache: stated.read_cache,
        encrypted: stated.encrypted,
        history_s: stated.history_s,
        quota_bytes: stated.quota_bytes,
        reserved_bytes: stated.reserved_bytes,
        protection: stated.protection.and_then(|own| own.0),
        tier: stated.tier.and_then(|own| own.0),
        qos: stated.qos.clone(),
        ..PolicySettings::default()
    }
}

impl Planner<'_> {
    pub(super) fn volumes(&mut self) {
        for (index, stated) in self.wanted.volumes.iter().enumerate() {
            let found = self.present.volumes.iter().find(|volume| volume.name == stated.name);
            let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
            let thing = Thing::new(StatedKind::Volume, index, &stated.name, action);
            self.check_policy(&thing, "policy", stated.policy.as_ref());
            match found {
                Some(volume) => self.change_volume(thing, stated, volume),
                None => self.create_volume(thing, stated),
            }
        }
    }

    fn check_policy(&mut self, thing: &Thing, field: &str, policy: Option<&Name>) {
        let Some(policy) = policy else { return };
        if self.settings_of(policy).is_none() {
            self.refuse(thing, field, format!("there is no policy '{policy}', and the document states none"));
        }
    }

    /// What a volume's copies or parity lie on must be in its pool, or join it by this document.
    fn check_protection(&mut self, thing: &Thing, pool: &Name, protection: Option<Protection>) {
        let Some(protection) = protection else { return };
        let present = self.present.pools.iter().find(|one| one.name == *pool).map(|one| one.devices.len());
        let stated = self.wanted.pools.iter().find(|one| one.name == *pool).map(|one| one.devices.len());
        let (needed, Some(devices)) = (protection.0.devices(), present.max(stated)) else { return };
        if devices < needed {
            let message =
                format!("{protection} needs {needed} distinct devices, and pool '{pool}' has {devices}");
            self.refuse(thing, "protection", message);
        }
    }

    fn settings_of(&self, policy: &Name) -> Option<&PolicySettings> {
        let stated = self.wanted.policies.iter().find(|one| one.name == *policy).map(|one| &one.settings);
        stated
            .or_else(|| self.present.policies.iter().find(|one| one.name == *policy).map(|one| &one.settings))
    }

    /// What will be meant for a volume by its policy and its overrides, and what the document says against that.
    fn meant(&mut self, thing: &Thing, stated: &StatedVolume) -> PolicySettings {
        let now = self.present.volume_policies.get(&stated.name);
        let policy = stated.policy.as_ref().or_else(|| now.and_then(|now| now.policy.as_ref()));
        let overrides = stated.overrides.clone();
        let overrides = overrides.or_else(|| now.map(|now| now.overrides.clone())).unwrap_or_default();
        if let Err(invalid) = overrides.check() {
            self.refuse(thing, &format!("overrides.{}", invalid.field), invalid.message);
        }
        let of_policy = policy.and_then(|policy| self.settings_of(policy)).cloned().unwrap_or_default();
        let meant = overrides.over(&of_policy);
        let said = direct(stated);
        for &setting in PolicySetting::ALL {
            if let (Some(here), Some(there)) = (said.describe(setting), meant.describe(setting))
                && here != there
            {
                let message = format!(
                    "its policy means it to be {there}, not {here}: say it under overrides, or not at all"
                );
                self.refuse(thing, field_of(setting), message);
            }
        }
        for (setting, is_as_pool) in [
            (PolicySetting::Protection, stated.protection == Some(OwnProtection(None))),
            (PolicySetting::Tier, stated.tier == Some(OwnTier(None))),
        ] {
            if let Some(there) = meant.describe(setting).filter(|_| is_as_pool) {
                let message =
                    format!("its policy means it to be {there}, not that of its pool: do not say it");
                self.refuse(thing, field_of(setting), message);
            }
        }
        meant
    }

    fn create_volume(&mut self, mut thing: Thing, stated: &StatedVolume) {
        let is_there = self.present.pools.iter().any(|pool| pool.name == stated.pool)
            || self.wanted.pools.iter().any(|pool| pool.name == stated.pool);
        if !is_there {
            self.refuse(
                &thing,
                "pool",
                format!("there is no pool '{}', and the document states none", stated.pool),
            );
        }
        let meant = self.meant(&thing, stated);
        thing.what.push(format!("{} in pool {}", ByteSize(stated.size_bytes), stated.pool));
        self.check_version(&thing, stated.version.as_ref(), None);
        let plain = CreateVolume::new(stated.name.clone(), stated.pool.clone(), stated.size_bytes);
        let overrides = stated.overrides.clone().unwrap_or_default();
        let said = overrides.over(&direct(stated));
        let request = CreateVolume { policy: stated.policy.clone(), ..plain.with_settings(&said) };
        let made = request.clone().with_settings(&request.overrides().over(&meant));
        if let Err(invalid) = made.check() {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        self.check_protection(&thing, &stated.pool, made.protection);
        let is_all = overrides.is_empty() || (stated.policy.is_some() && request.overrides() == overrides);
        self.push(StateStep::CreateVolume(request));
        if !is_all {
            let attach = AttachPolicy { policy: stated.policy.clone(), overrides };
            self.push(StateStep::AttachVolumePolicy(stated.name.clone(), attach));
        }
        self.done_with(thing);
    }

    fn change_volume(&mut self, mut thing: Thing, stated: &StatedVolume, volume: &Volume) {
        let Some(is) = self.present.volume(volume) else {
            let message = "it is in image mode, on a device of its own: `quarry volume migrate` moves it into the pool first";
            self.refuse(&thing, "pool", message);
            return self.done_with(thing);
        };
        let meant = self.meant(&thing, stated);
        let grown = self.grown(&mut thing, stated, volume);
        if stated.pool != is.pool {
            let message =
                format!("it is in pool '{}': `quarry volume migrate` moves it, a document does not", is.pool);
            self.refuse(&thing, "pool", message);
        }
        if stated.encrypted.is_some_and(|encrypted| encrypted != volume.encrypted) {
            self.refuse(&thing, "encrypted", "a volume is encrypted or not from its first write on");
        }
        let change = free_changes(&mut thing, stated, volume, &meant);
        self.check_protection(&thing, &stated.pool, change.protection.and_then(|own| own.0));
        if let Some(Err(invalid)) = change.qos.as_ref().map(QualityOfService::check) {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        let attach = self.attached(&mut thing, stated);
        self.check_version(&thing, stated.version.as_ref(), version_of(&is));
        // First what is meant: a change by hand goes together with it then.
        let name = || stated.name.clone();
        self.out.steps.extend(attach.map(|attach| StateStep::AttachVolumePolicy(name(), attach)));
        self.out.steps.extend(grown.map(|grown| StateStep::ResizeVolume(name(), grown)));
        if change != ChangeVolume::default() {
            self.push(StateStep::ChangeVolume(name(), change));
        }
        self.done_with(thing);
    }

    fn grown(&mut self, thing: &mut Thing, stated: &StatedVolume, volume: &Volume) -> Option<ResizeVolume> {
        let (from, to) = (volume.size_bytes, stated.size_bytes);
        if to == from {
            return None;
        }
        thing.differs("size_bytes", ByteSize(from), ByteSize(to));
        if to < from {
            let message = format!(
                "it has {} and does not become smaller: that would lose what is at its end",
                ByteSize(from)
            );
            self.refuse(thing, "size_bytes", message);
            return None;
        }
        let request = ResizeVolume { size_bytes: to };
        if let Err(invalid) = request.check() {
            self.refuse(thing, invalid.field, invalid.message);
        }
        Some(request)
    }

    fn attached(&self, thing: &mut Thing, stated: &StatedVolume) -> Option<AttachPolicy> {
        let own = self.present.own_policy(&stated.name);
        let now = self.present.volume_policies.get(&stated.name);
        let overrides_now = now.map(|now| now.overrides.clone()).unwrap_or_default();
        let overrides = stated.overrides.clone().unwrap_or_else(|| overrides_now.clone());
        let policy = stated.policy.as_ref().or(own);
        if policy == own && overrides == overrides_now {
            return None;
        }
        if policy != own {
            thing.differs("policy", own.map_or("-", Name::as_str), policy.map_or("-", Name::as_str));
        }
        for setting in overrides_now.differences(&overrides) {
            let said =
                |settings: &PolicySettings| settings.describe(setting).unwrap_or_else(|| "-".to_owned());
            thing.differs(&format!("overrides.{setting}"), said(&overrides_now), said(&overrides));
        }
        Some(AttachPolicy { policy: policy.cloned(), overrides })
    }

    pub(super) fn groups(&mut self) {
        let mut joining = Vec::new();
        for (index, stated) in self.wanted.groups.iter().enumerate() {
            let found = self.present.groups.iter().find(|group| group.name == stated.name);
            let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
            let mut thing = Thing::new(StatedKind::Group, index, &stated.name, action);
            self.check_policy(&thing, "policy", stated.policy.as_ref());
            let is_stated = |name: &Name| self.wanted.volumes.iter().any(|volume| volume.name == *name);
            let is_there = |name: &Name| self.present.volumes.iter().any(|volume| volume.name == *name);
            let members: Vec<Name> = found.map(|group| group.volumes.clone()).unwrap_or_default();
            if let Some(stranger) = stated
                .volumes
                .iter()
                .find(|name| !is_stated(name) && !is_there(name) && !members.contains(name))
            {
                self.refuse(
                    &thing,
                    "volumes",
                    format!("there is no volume '{stranger}', and the document states none"),
                );
            }
            let (add, remove) = (without(&stated.volumes, &members), without(&members, &stated.volumes));
            for (which, what) in [(&add, "join"), (&remove, "leave")] {
                if !which.is_empty() {
                    thing.what.push(format!("volumes: {} {what}", list(which)));
                }
            }
            let qos_now = found.and_then(|group| group.qos.clone()).unwrap_or_default();
            let qos = stated.qos.clone().filter(|wanted| *wanted != qos_now);
            if let Some(wanted) = &qos {
                thing.differs("qos", &qos_now, wanted);
            }
            let (name, volumes) = (stated.name.clone(), stated.volumes.clone());
            let request = CreateGroup { name, volumes, qos: qos.clone() };
            if let Err(invalid) = request.check() {
                self.refuse(&thing, invalid.field, invalid.message);
            }
            let policy = self.present.group_policies.get(&stated.name);
            let attach = stated.policy.clone().filter(|wanted| Some(wanted) != policy);
            if let Some(wanted) = &attach {
                thing.differs("policy", policy.map_or("-", Name::as_str), wanted);
            }
            let version = found.and_then(|group| version_of(&self.present.group(group)));
            self.check_version(&thing, stated.version.as_ref(), version);
            // Whoever leaves one group may join another one.
            if !remove.is_empty() {
                let change = ChangeGroup { remove, ..ChangeGroup::default() };
                self.push(StateStep::ChangeGroup(stated.name.clone(), change));
            }
            match found {
                None => joining.push(StateStep::CreateGroup(request)),
                Some(_) if !add.is_empty() || qos.is_some() => {
                    let change = ChangeGroup { add, qos, ..ChangeGroup::default() };
                    joining.push(StateStep::ChangeGroup(stated.name.clone(), change));
                }
                Some(_) => {}
            }
            joining.extend(attach.map(|policy| {
                let attach = AttachPolicy { policy: Some(policy), ..AttachPolicy::default() };
                StateStep::AttachGroupPolicy(stated.name.clone(), attach)
            }));
            self.done_with(thing);
        }
        self.out.steps.extend(joining);
    }
}

/// The field of a volume that says a setting itself.
fn field_of(setting: PolicySetting) -> &'static str {
    match setting {
        PolicySetting::ReadCache => "read_cache",
        PolicySetting::Encryption => "encrypted",
        PolicySetting::History => "history_s",
        PolicySetting::Quota => "quota_bytes",
        PolicySetting::Reservation => "reserved_bytes",
        other => other.as_str(),
    }
}

/// What is stated, is not so, and is no policy's to say.
fn free_changes(
    thing: &mut Thing,
    stated: &StatedVolume,
    volume: &Volume,
    meant: &PolicySettings,
) -> ChangeVolume {
    fn unless<T>(is_meant: bool, value: Option<&T>) -> Option<&T> {
        value.filter(|_| !is_meant)
    }
    let (quota, qos) = (volume.quota_bytes.unwrap_or(0), volume.qos.clone().unwrap_or_default());
    ChangeVolume {
        durability: thing.change(
            "durability",
            &volume.durability,
            unless(meant.durability.is_some(), stated.durability.as_ref()),
        ),
        compression: thing.change(
            "compression",
            &volume.compression,
            unless(meant.compression.is_some(), stated.compression.as_ref()),
        ),
        deduplication: thing.change(
            "deduplication",
            &volume.deduplication,
            unless(meant.deduplication.is_some(), stated.deduplication.as_ref()),
        ),
        read_cache: thing.change(
            "read_cache",
            &volume.read_cache,
            unless(meant.read_cache.is_some(), stated.read_cache.as_ref()),
        ),
        history_s: thing.change(
            "history_s",
            &volume.history_s,
            unless(meant.history_s.is_some(), stated.history_s.as_ref()),
        ),
        quota_bytes: thing.change(
            "quota_bytes",
            &quota,
            unless(meant.quota_bytes.is_some(), stated.quota_bytes.as_ref()),
        ),
        reserved_bytes: thing.change(
            "reserved_bytes",
            &volume.reserved_bytes,
            unless(meant.reserved_bytes.is_some(), stated.reserved_bytes.as_ref()),
        ),
        protection: thing.change(
            "protection",
            &OwnProtection(volume.protection.filter(|_| volume.own_protection)),
            unless(meant.protection.is_some(), stated.protection.as_ref()),
        ),
        tier: thing.change(
            "tier",
            &OwnTier(volume.tier.filter(|_| volume.own_tier)),
            unless(meant.tier.is_some(), stated.tier.as_ref()),
        ),
        qos: thing.change("qos", &qos, unless(meant.qos.is_some(), stated.qos.as_ref())),
    }
}
