//! Pools and policies of a document.

use quarry_api_types::{
    AddDevice, ChangePolicy, ChangePool, CreatePolicy, CreatePool, Pool, SpaceLevels, StatedAction,
    StatedKind, StatedPolicy, StatedPool,
};

use super::present::{self, version_of};
use super::{Planner, StateStep, Thing, list};

impl Planner<'_> {
    pub(super) fn pools(&mut self) {
        for (index, stated) in self.wanted.pools.iter().enumerate() {
            match self.present.pools.iter().find(|pool| pool.name == stated.name) {
                Some(pool) => self.change_pool(index, stated, pool),
                None => self.create_pool(index, stated),
            }
        }
    }

    fn create_pool(&mut self, index: usize, stated: &StatedPool) {
        let mut thing = Thing::new(StatedKind::Pool, index, &stated.name, StatedAction::Create);
        thing.what.push(format!("devices: {}", list(&stated.devices)));
        let levels = SpaceLevels::default();
        let request = CreatePool {
            name: stated.name.clone(),
            devices: stated.devices.clone(),
            copies: stated.copies,
            protection: stated.protection,
            force: false,
            warning_percent: stated.warning_percent.unwrap_or(levels.warning_percent),
            critical_percent: stated.critical_percent.unwrap_or(levels.critical_percent),
            overcommit_limit_percent: stated.overcommit_limit_percent.unwrap_or(0),
        };
        if let Err(invalid) = request.check() {
            self.refuse(&thing, invalid.field, invalid.message);
        }
        self.check_version(&thing, stated.version.as_ref(), None);
        self.push(StateStep::CreatePool(request));
        if let Some(rate @ 1..) = stated.rebuild_rate_bytes_per_s {
            let change = ChangePool { rebuild_rate_bytes_per_s: Some(rate), ..ChangePool::default() };
            self.push(StateStep::ChangePool(stated.name.clone(), change));
        }
        self.done_with(thing);
    }

    fn change_pool(&mut self, index: usize, stated: &StatedPool, pool: &Pool) {
        let mut thing = Thing::new(StatedKind::Pool, index, &stated.name, StatedAction::Change);
        let is = present::pool(pool);
        let (limit, rate) =
            (is.overcommit_limit_percent.unwrap_or(0), is.rebuild_rate_bytes_per_s.unwrap_or(0));
        let protection = stated.wanted_protection().unwrap_or_else(|invalid| {
            self.refuse(&thing, invalid.field, invalid.message);
            None
        });
        let change = ChangePool {
            copies: None,
            protection: thing.change("protection", &pool.protection, protection.as_ref()),
            warning_percent: thing.change(
                "warning_percent",
                &pool.levels.warning_percent,
                stated.warning_percent.as_ref(),
            ),
            critical_percent: thing.change(
                "critical_percent",
                &pool.levels.critical_percent,
                stated.critical_percent.as_ref(),
            ),
            overcommit_limit_percent: thing.change(
                "overcommit_limit_percent",
                &limit,
                stated.overcommit_limit_percent.as_ref(),
            ),
            rebuild_rate_bytes_per_s: thing.change(
                "rebuild_rate_bytes_per_s",
                &rate,
                stated.rebuild_rate_bytes_per_s.as_ref(),
            ),
        };
        let joining: Vec<&String> = stated
            .devices
            .iter()
            .filter(|path| !is.devices.iter().any(|device| is_device(path, device)))
            .collect();
        let missing: Vec<&String> = is
            .devices
            .iter()
            .filter(|device| !stated.devices.iter().any(|path| is_device(path, device)))
            .collect();
        for path in &joining {
            thing.what.push(format!("devices: {path} joins"));
        }
        self.check_version(&thing, stated.version.as_ref(), version_of(&is));
        if !missing.is_empty() {
            let message = format!(
                "{} would have to leave, which is not done in this way: `quarry device remove` moves its data away first",
                list(&missing)
            );
            self.refuse(&thing, "devices", message);
        }
        // More copies may need the devices that join.
        for path in joining {
            let request = AddDevice { path: path.clone(), force: false };
            if let Err(invalid) = request.check() {
                self.refuse(&thing, "devices", invalid.message);
            }
            self.push(StateStep::AddDevice(stated.name.clone(), request));
        }
        if change != ChangePool::default() {
            if let Err(invalid) = change.check() {
                self.refuse(&thing, invalid.field, invalid.message);
            }
            self.push(StateStep::ChangePool(stated.name.clone(), change));
        }
        self.done_with(thing);
    }

    pub(super) fn policies(&mut self) {
        for (index, stated) in self.wanted.policies.iter().enumerate() {
            self.policy(index, stated);
        }
    }

    fn policy(&mut self, index: usize, stated: &StatedPolicy) {
        let found = self.present.policies.iter().find(|policy| policy.name == stated.name);
        let action = if found.is_some() { StatedAction::Change } else { StatedAction::Create };
        let mut thing = Thing::new(StatedKind::Policy, index, &stated.name, action);
        let is = found.map(|policy| policy.settings.clone()).unwrap_or_default();
        let said = |text: Option<String>| text.unwrap_or_else(|| "unset".to_owned());
        for setting in is.differences(&stated.settings) {
            thing.differs(
                setting.as_str(),
                said(is.describe(setting)),
                said(stated.settings.describe(setting)),
            );
        }
        if let Err(invalid) = stated.settings.check() {
            self.refuse(&thing, &format!("settings.{}", invalid.field), invalid.message);
        }
        let version = found.and_then(|policy| version_of(&present::policy(policy)));
        self.check_version(&thing, stated.version.as_ref(), version);
        let (name, settings) = (stated.name.clone(), stated.settings.clone());
        match found {
            None => self.push(StateStep::CreatePolicy(CreatePolicy { name, settings })),
            Some(policy) if !thing.what.is_empty() => {
                let change = ChangePolicy { version: Some(policy.version), settings };
                self.push(StateStep::ChangePolicy(name, change));
            }
            Some(_) => {}
        }
        self.done_with(thing);
    }
}

/// Whether a path that was stated is that of a device. In a directory the device is a file.
pub(super) fn is_device(stated: &str, device: &str) -> bool {
    let inside = device.strip_prefix(stated.trim_end_matches('/'));
    stated == device || inside.is_some_and(|rest| rest.starts_with('/') && !rest[1..].contains('/'))
}
