//! How much of the audit log one asker may fill.
//!
//! The log is bounded, so whoever writes enough of it pushes out what is there of others. Each user of a tenant therefore has points: a request
//! that fails or is refused costs some, and so does each change; they come back with time. Who has none left is
//! turned away from changes until he has some again, and what he is refused meanwhile is counted: one entry a minute says how often.
//! A tenant has points as well, for all its users together, so that it gains little by making many. Those who run the node have no bound.

use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::http::StatusCode;
use quarry_auth::Principal;

/// Points of one user; a tenant has [`USERS_PER_TENANT`] times as many. Ten come back each second.
const POINTS_MAX: u64 = 30_000;
const USERS_PER_TENANT: u64 = 3;
/// What a request costs that fails or is refused, and a change that does not.
const FAILURE_POINTS: u64 = 10;
const CHANGE_POINTS: u64 = 2;
const POINT_MS: u64 = 100;
/// How often it is told that somebody is turned away.
const TOLD_EVERY_MS: u64 = 60_000;
/// Askers that are remembered.
const ASKERS_MAX: usize = 4096;

/// Whether somebody is listened to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    /// When to come again, where he is not.
    pub(super) wait_s: Option<u64>,
    /// How often he was turned away since that was told last, when it is to be told now.
    pub(super) untold: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Points that were spent and have not come back, in the time that they take for it.
    spent_ms: u64,
    at_ms: u64,
    untold: u64,
    told_ms: Option<u64>,
}

impl Account {
    fn settle(&mut self, now_ms: u64) -> &mut Self {
        self.spent_ms = self.spent_ms.saturating_sub(now_ms.saturating_sub(self.at_ms));
        self.at_ms = now_ms;
        self
    }

    /// How long it takes until there are points for a failure.
    fn wait_ms(&self, users: u64) -> u64 {
        (self.spent_ms + FAILURE_POINTS * POINT_MS).saturating_sub(users * POINTS_MAX * POINT_MS)
    }
}

/// What askers have spent lately.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    accounts: Mutex<BTreeMap<String, Account>>,
}

impl Allowances {
    /// Whether an asker may go on. Who may not is counted.
    pub(super) fn turn(&self, asker: &Principal, now_ms: u64) -> Turn {
        let mut accounts = self.accounts.lock().expect("nobody panics with this lock");
        let of_tenant =
            tenant(asker).map(|key| account(&mut accounts, key, now_ms).wait_ms(USERS_PER_TENANT));
        let own = account(&mut accounts, user(asker), now_ms);
        let wait_ms = own.wait_ms(1).max(of_tenant.unwrap_or(0));
        if wait_ms == 0 {
            let untold = std::mem::take(&mut own.untold);
            return Turn { wait_s: None, untold: Some(untold).filter(|&count| count > 0) };
        }
        own.untold += 1;
        let is_due = own.told_ms.is_none_or(|told| now_ms.abs_diff(told) >= TOLD_EVERY_MS);
        let untold = is_due.then(|| {
            own.told_ms = Some(now_ms);
            std::mem::take(&mut own.untold)
        });
        Turn { wait_s: Some(wait_ms.div_ceil(1000)), untold }
    }

    /// Takes what an answer with this status costs.
    pub(super) fn spend(&self, asker: &Principal, status: StatusCode, now_ms: u64) {
        let Some(of_tenant) = tenant(asker) else { return };
        let points = if status.is_client_error() { FAILURE_POINTS } else { CHANGE_POINTS };
        let mut accounts = self.accounts.lock().expect("nobody panics with this lock");
        for key in [user(asker), of_tenant] {
            account(&mut accounts, key, now_ms).spent_ms += points * POINT_MS;
        }
    }
}

/// A token that an admin has made for a tenant is not the admin.
fn user(asker: &Principal) -> String {
    format!("{}/{}", asker.tenant.as_ref().map_or("", |tenant| tenant.as_str()), asker.user)
}

fn tenant(asker: &Principal) -> Option<String> {
    asker.tenant.as_ref().map(|tenant| format!("{tenant}/"))
}

/// The account of an asker as it is now. Where there are too many, those are forgotten that have all their points, or most of them.
fn account(accounts: &mut BTreeMap<String, Account>, key: String, now_ms: u64) -> &mut Account {
    if !accounts.contains_key(&key) && accounts.len() >= ASKERS_MAX {
        accounts.retain(|_, account| account.settle(now_ms).spent_ms > 0 || account.untold > 0);
        if accounts.len() >= ASKERS_MAX {
            let least = accounts.iter().min_by_key(|(_, account)| account.spent_ms);
            let least = least.map(|(key, _)| key.clone());
            least.and_then(|key| accounts.remove(&key));
        }
    }
    let account = accounts.entry(key).or_insert(Account { at_ms: now_ms, ..Account::default() });
    account.settle(now_ms)
}

#[cfg(test)]
mod tests {
    use quarry_api_types::Role;

    use super::*;

    fn asker(user: &str, tenant: Option<&str>) -> Principal {
        Principal {
            user: user.parse().unwrap(),
            role: Role::TenantUser,
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            token: "t".to_owned(),
            expires: None,
        }
    }

    /// How many requests with this status pass before one is turned away.
    fn pass(allowances: &Allowances, asker: &Principal, status: StatusCode, now_ms: u64) -> u64 {
        (0..1_000_000)
            .take_while(|_| {
                let is_let = allowances.turn(asker, now_ms).wait_s.is_none();
                if is_let {
                    allowances.spend(asker, status, now_ms);
                }
                is_let
            })
            .count() as u64
    }

    #[test]
    fn who_fails_again_and_again_is_turned_away_and_others_are_not() {
        let allowances = Allowances::default();
        let ann = asker("acme.ann", Some("acme"));
        assert_eq!(pass(&allowances, &ann, StatusCode::NOT_FOUND, 0), POINTS_MAX / FAILURE_POINTS);
        let turn = allowances.turn(&ann, 0);
        assert_eq!(
            turn,
            Turn { wait_s: Some((FAILURE_POINTS * POINT_MS).div_ceil(1000)), untold: None },
            "the first was told"
        );
        for other in [asker("acme.bob", Some("acme")), asker("acme.ann", None), asker("ann", Some("globex"))]
        {
            assert_eq!(allowances.turn(&other, 0).wait_s, None);
        }
        // So many points have come back after that time as one failure costs.
        let later = FAILURE_POINTS * POINT_MS;
        assert_eq!(allowances.turn(&ann, later - 1).wait_s, Some(1));
        assert_eq!(pass(&allowances, &ann, StatusCode::NOT_FOUND, later), 1);
    }

    #[test]
    fn that_somebody_is_turned_away_is_told_at_first_then_once_a_minute_and_when_he_is_let_again() {
        let (allowances, ann) = (Allowances::default(), asker("acme.ann", Some("acme")));
        for _ in 0..POINTS_MAX / FAILURE_POINTS {
            allowances.spend(&ann, StatusCode::CONFLICT, 0);
        }
        let told = |now_ms| allowances.turn(&ann, now_ms).untold;
        assert_eq!([told(0), told(0), told(1), told(2)], [Some(1), None, None, None]);
        (0..200).for_each(|_| allowances.spend(&ann, StatusCode::CONFLICT, 0));
        assert_eq!([told(TOLD_EVERY_MS), told(TOLD_EVERY_MS + 1)], [Some(4), None]);
        assert_eq!([told(10_000_000), told(10_000_001)], [Some(1), None]);
    }

    #[test]
    fn changes_cost_a_tenant_little_and_others_nothing() {
        let allowances = Allowances::default();
        let (ann, operator) = (asker("acme.ann", Some("acme")), asker("op", None));
        let expected = (POINTS_MAX - FAILURE_POINTS) / CHANGE_POINTS + 1;
        assert_eq!(pass(&allowances, &ann, StatusCode::CREATED, 0), expected);
        for status in [StatusCode::CREATED, StatusCode::CONFLICT] {
            (0..2 * POINTS_MAX).for_each(|_| allowances.spend(&operator, status, 0));
        }
        assert_eq!(allowances.turn(&operator, 0).wait_s, None);
    }

    #[test]
    fn a_tenant_gains_little_by_many_users() {
        let allowances = Allowances::default();
        let users = (0..10).map(|number| asker(&format!("acme.u{number}"), Some("acme")));
        let passed: u64 = users.map(|user| pass(&allowances, &user, StatusCode::CONFLICT, 0)).sum();
        assert_eq!(passed, USERS_PER_TENANT * POINTS_MAX / FAILURE_POINTS);
    }

    #[test]
    fn so_many_askers_are_remembered_and_the_worst_are_not_forgotten() {
        let (allowances, worst) = (Allowances::default(), asker("w.worst", Some("w")));
        for _ in 0..POINTS_MAX / FAILURE_POINTS {
            allowances.spend(&worst, StatusCode::CONFLICT, 0);
        }
        for number in 0..2 * ASKERS_MAX {
            let tenant = format!("t{number}");
            allowances.spend(&asker("t.u", Some(&tenant)), StatusCode::CONFLICT, 0);
        }
        assert_eq!(allowances.accounts.lock().unwrap().len(), ASKERS_MAX);
        assert!(allowances.turn(&worst, 0).wait_s.is_some());
    }
}
