//! Policies for people.

use quarry_api_types::{
    ComplianceState, GroupPolicy, Name, Policy, PolicySetting, PolicySettings, SettingCompliance,
    SettingSource, VolumePolicy,
};

use super::{number, optional, properties, state, table, text};

pub fn policies(policies: &[Policy]) -> String {
    let row = |policy: &Policy| {
        vec![
            text(&policy.name),
            number(policy.version),
            number(policy.volumes.len()),
            number(policy.groups.len()),
            text(policy.changed),
            text(said(&policy.settings).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")),
        ]
    };
    table(&["NAME", ">VERSION", ">VOLUMES", ">GROUPS", "CHANGED", "SETTINGS"], policies.iter().map(row))
}

pub fn policy(policy: &Policy) -> String {
    let mut rows =
        vec![("Name", text(&policy.name)), ("Id", text(policy.id)), ("Version", number(policy.version))];
    let said = said(&policy.settings);
    let settings = said.iter().map(|(setting, value)| (heading(*setting), text(value)));
    rows.extend(settings);
    rows.extend([
        ("Volumes", text(names(&policy.volumes))),
        ("Groups", text(names(&policy.groups))),
        ("Created", text(policy.created)),
        ("Changed", text(policy.changed)),
    ]);
    properties(rows)
}

fn said(settings: &PolicySettings) -> Vec<(PolicySetting, String)> {
    let one = |setting: &PolicySetting| Some((*setting, settings.describe(*setting)?));
    PolicySetting::ALL.iter().filter_map(one).collect()
}

fn heading(setting: PolicySetting) -> &'static str {
    match setting {
        PolicySetting::Durability => "Durability",
        PolicySetting::Compression => "Compression",
        PolicySetting::Deduplication => "Deduplication",
        PolicySetting::ReadCache => "Read cache",
        PolicySetting::Encryption => "Encryption",
        PolicySetting::History => "History",
        PolicySetting::Quota => "Quota",
        PolicySetting::Reservation => "Reservation",
        PolicySetting::Overcommit => "Over-commit",
        PolicySetting::Snapshots => "Snapshots",
        PolicySetting::Protection => "Protection",
        PolicySetting::Tier => "Tier",
        PolicySetting::Qos => "Quality of service",
        PolicySetting::Replication => "Replication",
    }
}

pub fn group(group: &GroupPolicy) -> String {
    properties(vec![
        ("Group", text(&group.group)),
        ("Policy", text(policy_line(group.policy.as_ref(), group.version))),
    ])
}

pub fn volumes(volumes: &[VolumePolicy]) -> String {
    let row = |volume: &VolumePolicy| {
        vec![
            text(&volume.volume),
            optional(volume.policy.as_ref()),
            optional(volume.through_group.as_ref()),
            state(volume.state),
            text(reasons(volume).next().unwrap_or_else(|| "-".to_owned())),
        ]
    };
    table(&["VOLUME", "POLICY", "THROUGH GROUP", "STATE", "REASON"], volumes.iter().map(row))
}

/// What is said of a volume's policy where the volume is shown. Nothing when it has none.
pub fn summary(policy: &VolumePolicy) -> String {
    if policy.state == ComplianceState::Unmanaged {
        return String::new();
    }
    let mut rows = vec![("Policy", text(line(policy))), ("Compliance", state(policy.state))];
    rows.extend(reasons(policy).map(|reason| ("Reason", text(reason))));
    rows.extend(policy.plan.iter().map(|step| ("Planned", text(step))));
    if let Some(next) = policy.schedule.as_ref().and_then(|schedule| schedule.next) {
        rows.push(("Next snapshot", text(next)));
    }
    properties(rows)
}

fn reasons(policy: &VolumePolicy) -> impl Iterator<Item = String> + '_ {
    let reason =
        |setting: &SettingCompliance| Some(format!("{}: {}", setting.setting, setting.reason.as_ref()?));
    policy.settings.iter().filter_map(reason)
}

fn policy_line(policy: Option<&Name>, version: Option<u64>) -> String {
    match (policy, version) {
        (Some(policy), Some(version)) => format!("{policy}, version {version}"),
        _ => "-".to_owned(),
    }
}

fn line(policy: &VolumePolicy) -> String {
    let named = policy_line(policy.policy.as_ref(), policy.version);
    match (&policy.through_group, policy.overrides.is_empty()) {
        (Some(group), true) => format!("{named}, through group {group}"),
        (Some(group), false) => format!("{named}, through group {group}, with overrides"),
        (None, true) => named,
        (None, false) => format!("{named}, with overrides"),
    }
}

/// Everything, with who says it and why.
pub fn why(policy: &VolumePolicy) -> String {
    let mut rows = vec![
        ("Volume", text(&policy.volume)),
        ("Policy", text(line(policy))),
        ("Compliance", state(policy.state)),
    ];
    rows.extend(policy.failure.iter().map(|failure| ("Failed", text(failure))));
    rows.extend(policy.plan.iter().map(|step| ("Planned", text(step))));
    if let Some(schedule) = &policy.schedule {
        rows.extend([("Last snapshot", optional(schedule.last)), ("Next snapshot", optional(schedule.next))]);
    }
    let mut shown = properties(rows);
    if !policy.settings.is_empty() {
        let row = |one: &SettingCompliance| {
            vec![
                text(one.setting),
                text(&one.intended),
                text(&one.actual),
                text(source(one.source, policy)),
                state(one.state),
                optional(one.reason.as_ref()),
            ]
        };
        let headings = ["SETTING", "INTENDED", "ACTUAL", "SAID BY", "STATE", "REASON"];
        shown += &format!("\n{}", table(&headings, policy.settings.iter().map(row)));
    }
    if let Some(schedule) = policy.schedule.as_ref().filter(|schedule| !schedule.kept.is_empty()) {
        let kept = schedule.kept.iter().map(|one| {
            let by = if one.kept_by.is_empty() {
                "nothing: it is about to go".to_owned()
            } else {
                one.kept_by.join("; ")
            };
            vec![text(&one.name), text(by)]
        });
        shown += &format!("\n{}", table(&["SNAPSHOT", "KEPT BY"], kept));
    }
    shown
}

fn source(source: SettingSource, policy: &VolumePolicy) -> String {
    let named = policy.policy.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    match (source, &policy.through_group) {
        (SettingSource::Override, _) => "an override".to_owned(),
        (SettingSource::GroupPolicy, Some(group)) => format!("policy {named} of group {group}"),
        _ => format!("policy {named}"),
    }
}

fn names(names: &[Name]) -> String {
    match names {
        [] => "-".to_owned(),
        names => names.iter().map(Name::as_str).collect::<Vec<_>>().join(" "),
    }
}
