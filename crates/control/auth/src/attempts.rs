//! Guessing, bounded: after some failures a user name is locked for a while, and an address is not listened to.
//!
//! It is kept in memory, and of so many names and addresses only; where there are more, what was quiet for the longest time is
//! forgotten. A token that is right always passes: a flood of wrong ones from one address does not lock out who shares it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Mutex;

/// Names, and addresses, whose failures are remembered.
pub const ATTEMPTS_KEPT_MAX: usize = 1024;
/// Failures in a row after which a name is locked.
const NAME_FAILURES_MAX: u32 = 5;
/// How long it is locked first; twice as long with each failure after that.
const NAME_LOCK_MS: u64 = 30_000;
const NAME_LOCK_MS_MAX: u64 = 15 * 60_000;
/// Failures from one address in a minute.
const ADDRESS_FAILURES_MAX: u32 = 30;
const ADDRESS_LOCK_MS: u64 = 60_000;
/// A failure so long ago does not count any more.
const FORGOTTEN_AFTER_MS: u64 = 60 * 60_000;

/// Too many failures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Blocked {
    /// When to try again, in whole seconds from now.
    pub retry_after_s: u64,
    /// Whether this is the first attempt that it stops, or the one with which it began.
    pub is_first: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    since_ms: u64,
    last_ms: u64,
    blocked_until_ms: u64,
    /// Until when it was blocked when somebody was told so last.
    told_until_ms: u64,
}

type Table = BTreeMap<String, Failures>;

/// What has failed lately.
#[derive(Debug, Default)]
pub struct Attempts {
    tables: Mutex<(Table, Table)>,
}

impl Attempts {
    /// Whether a login may be tried now.
    pub fn check_login(&self, user: &str, address: Option<IpAddr>, now_ms: u64) -> Result<(), Blocked> {
        let mut guard = self.tables.lock().expect("nobody panics with this lock");
        let (names, addresses) = &mut *guard;
        let by_name = names.get_mut(user);
        let by_address = address.and_then(|address| addresses.get_mut(&network(address)));
        let longest =
            [by_name, by_address].into_iter().flatten().max_by_key(|failures| failures.blocked_until_ms);
        let Some(failures) = longest else { return Ok(()) };
        let is_first = failures.told_until_ms != failures.blocked_until_ms;
        blocked(failures.blocked_until_ms, now_ms, is_first)
            .inspect_err(|_| failures.told_until_ms = failures.blocked_until_ms)
    }

    /// Remembers a login that failed.
    pub fn login_failed(&self, user: &str, address: Option<IpAddr>, now_ms: u64) {
        let mut tables = self.tables.lock().expect("nobody panics with this lock");
        let failures = note(&mut tables.0, user.to_owned(), now_ms);
        if failures.count >= NAME_FAILURES_MAX {
            let doublings = (failures.count - NAME_FAILURES_MAX).min(16);
            failures.blocked_until_ms = now_ms + (NAME_LOCK_MS << doublings).min(NAME_LOCK_MS_MAX);
        }
        drop(tables);
        // What the answer says is about this login; the next one is told.
        let _ = self.address_failed(address, now_ms);
    }

    /// Forgets the failures of a user who has logged in.
    pub fn login_succeeded(&self, user: &str) {
        self.tables.lock().expect("nobody panics with this lock").0.remove(user);
    }

    /// Remembers a request with a wrong token, or none; fails when there were too many from there, which blocks logins.
    pub fn address_failed(&self, address: Option<IpAddr>, now_ms: u64) -> Result<(), Blocked> {
        let Some(address) = address else { return Ok(()) };
        let mut tables = self.tables.lock().expect("nobody panics with this lock");
        let failures = note(&mut tables.1, network(address), now_ms);
        if failures.blocked_until_ms > now_ms {
            return blocked(failures.blocked_until_ms, now_ms, false);
        }
        if now_ms.saturating_sub(failures.since_ms) > ADDRESS_LOCK_MS {
            (failures.count, failures.since_ms) = (1, now_ms);
        }
        if failures.count <= ADDRESS_FAILURES_MAX {
            return Ok(());
        }
        failures.blocked_until_ms = now_ms + ADDRESS_LOCK_MS;
        (failures.count, failures.since_ms) = (0, now_ms);
        blocked(failures.blocked_until_ms, now_ms, true)
    }
}

fn blocked(until_ms: u64, now_ms: u64, is_first: bool) -> Result<(), Blocked> {
    match until_ms.checked_sub(now_ms) {
        None | Some(0) => Ok(()),
        Some(left) => Err(Blocked { retry_after_s: left.div_ceil(1000), is_first }),
    }
}

fn note(table: &mut Table, key: String, now_ms: u64) -> &mut Failures {
    if !table.contains_key(&key) && table.len() >= ATTEMPTS_KEPT_MAX {
        let quiet = table.iter().min_by_key(|(_, failures)| failures.last_ms).map(|(key, _)| key.clone());
        quiet.and_then(|key| table.remove(&key));
    }
    let failures =
        table.entry(key).or_insert(Failures { since_ms: now_ms, last_ms: now_ms, ..Failures::default() });
    if now_ms.saturating_sub(failures.last_ms) > FORGOTTEN_AFTER_MS {
        *failures = Failures { since_ms: now_ms, ..Failures::default() };
    }
    failures.count = failures.count.saturating_add(1);
    failures.last_ms = now_ms;
    failures
}

/// An IPv6 host has a whole /64 to come from.
fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_locked_longer_and_longer_and_a_success_forgets_it() {
        let (attempts, mut now) = (Attempts::default(), 1_000_000);
        for _ in 0..NAME_FAILURES_MAX {
            assert_eq!(attempts.check_login("ann", None, now), Ok(()));
            attempts.login_failed("ann", None, now);
        }
        for expected in [30, 60, 120, 240, 480, 900, 900] {
            let refused = attempts.check_login("ann", None, now).unwrap_err();
            assert_eq!(refused.retry_after_s, expected);
            assert_eq!(attempts.check_login("bob", None, now), Ok(()));
            now += expected * 1000;
            assert_eq!(attempts.check_login("ann", None, now), Ok(()));
            attempts.login_failed("ann", None, now);
        }
        attempts.login_succeeded("ann");
        assert_eq!(attempts.check_login("ann", None, now), Ok(()));
    }

    #[test]
    fn an_address_is_blocked_for_a_minute_and_told_once_that_it_begins() {
        let attempts = Attempts::default();
        let from = |text: &str| Some(text.parse().unwrap());
        for _ in 0..ADDRESS_FAILURES_MAX {
            assert_eq!(attempts.address_failed(from("2001:db8::1"), 0), Ok(()));
        }
        let first = attempts.address_failed(from("2001:db8::2"), 0).unwrap_err();
        assert_eq!(first, Blocked { retry_after_s: 60, is_first: true }, "the same /64");
        assert!(!attempts.address_failed(from("2001:db8::1"), 1).unwrap_err().is_first);
        assert!(attempts.check_login("ann", from("2001:db8::9"), 1).is_err());
        assert_eq!(attempts.address_failed(from("192.0.2.1"), 1), Ok(()));
        assert_eq!(attempts.address_failed(from("2001:db8::1"), 61_000), Ok(()));
        assert_eq!(attempts.check_login("ann", from("2001:db8::9"), 61_000), Ok(()));
    }

    #[test]
    fn slow_failures_of_an_address_do_not_add_up() {
        let attempts = Attempts::default();
        for minute in 0..200 {
            assert_eq!(attempts.address_failed(Some([192, 0, 2, 1].into()), minute * 61_000), Ok(()));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::default();
        for number in 0..3 * ATTEMPTS_KEPT_MAX as u64 {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            attempts.login_failed(&format!("user-{number}"), Some(address), number);
        }
        let tables = attempts.tables.lock().unwrap();
        assert_eq!((tables.0.len(), tables.1.len()), (ATTEMPTS_KEPT_MAX, ATTEMPTS_KEPT_MAX));
        assert!(!tables.0.contains_key("user-0"), "the oldest goes first");
    }
}
