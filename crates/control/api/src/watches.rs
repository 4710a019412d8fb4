//! Who watches: so many clients at once, of whom no user and no tenant takes the place of all others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use quarry_api_types::{Name, ProblemCode};
use quarry_auth::Principal;

use crate::limits::{WATCHES_MAX, WATCHES_OF_TENANT_MAX, WATCHES_OF_TENANTS_MAX, WATCHES_OF_USER_MAX};
use crate::problem::ApiError;

/// Everybody who watches now.
#[derive(Clone, Default)]
pub(crate) struct Watches(Arc<Mutex<Vec<Watcher>>>);

/// A user; with a token that is confined to a tenant he is another one, as it is mostly made to be given away.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Watcher {
    user: Name,
    tenant: Option<Name>,
}

/// The place of one who watches, which is free again when this is dropped.
pub(crate) struct Place {
    watches: Watches,
    watcher: Watcher,
}

impl Watches {
    /// Takes a place for somebody, if there is one for him.
    pub(crate) fn begin(&self, asker: &Principal) -> Result<Place, ApiError> {
        let watcher = Watcher { user: asker.user.clone(), tenant: asker.tenant.clone() };
        let mut there = self.there();
        let count = |is_one: &dyn Fn(&Watcher) -> bool| there.iter().filter(|one| is_one(one)).count();
        if count(&|one| *one == watcher) >= WATCHES_OF_USER_MAX {
            return Err(own_are_too_many(&format!("user '{}'", watcher.user), WATCHES_OF_USER_MAX));
        }
        if let Some(tenant) = &watcher.tenant {
            if count(&|one| one.tenant == watcher.tenant) >= WATCHES_OF_TENANT_MAX {
                return Err(own_are_too_many(&format!("tenant '{tenant}'"), WATCHES_OF_TENANT_MAX));
            }
            if count(&|one| one.tenant.is_some()) >= WATCHES_OF_TENANTS_MAX {
                return Err(too_many("the clients of tenants that watch already", WATCHES_OF_TENANTS_MAX));
            }
        }
        if there.len() >= WATCHES_MAX {
            return Err(too_many("the clients that watch already", WATCHES_MAX));
        }
        there.push(watcher.clone());
        Ok(Place { watches: self.clone(), watcher })
    }

    fn there(&self) -> MutexGuard<'_, Vec<Watcher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut there = self.watches.there();
        if let Some(at) = there.iter().position(|one| *one == self.watcher) {
            there.swap_remove(at);
        }
    }
}

fn own_are_too_many(whose: &str, most: usize) -> ApiError {
    let detail = format!("{whose} has {most} watches already, which is the most");
    let next_step = "End one of them, let one watch several sorts, or ask for lists.";
    ApiError::new(ProblemCode::TooManyRequests, StatusCode::TOO_MANY_REQUESTS, detail, next_step)
        .with_retry_after(10)
}

fn too_many(who: &str, most: usize) -> ApiError {
    let detail = format!("{who} are {most}, which is the most");
    let next_step = "End a watch, or ask for lists.";
    ApiError::new(ProblemCode::Unavailable, StatusCode::SERVICE_UNAVAILABLE, detail, next_step)
        .with_retry_after(10)
}

#[cfg(test)]
mod tests {
    use quarry_api_types::Role;

    use super::*;

    fn begin(watches: &Watches, user: &str, tenant: Option<&str>, many: usize) -> Result<Vec<Place>, u16> {
        let asker = Principal {
            user: user.parse().unwrap(),
            role: if tenant.is_some() { Role::TenantUser } else { Role::Admin },
            tenant: tenant.map(|tenant| tenant.parse().unwrap()),
            token: String::new(),
            expires: None,
        };
        (0..many).map(|_| watches.begin(&asker).map_err(|error| error.status().as_u16())).collect()
    }

    #[test]
    fn a_user_has_so_many_and_a_place_is_free_again() {
        let watches = Watches::default();
        let mut held = begin(&watches, "operator", None, WATCHES_OF_USER_MAX).unwrap();
        assert_eq!(begin(&watches, "operator", None, 1).err(), Some(429));
        held.pop();
        held.extend(begin(&watches, "operator", None, 1).unwrap());
        assert_eq!(begin(&watches, "operator", None, 1).err(), Some(429));
        held.extend(begin(&watches, "admin", Some("acme"), WATCHES_OF_USER_MAX).unwrap());
        assert_eq!(begin(&watches, "admin", Some("acme"), 1).err(), Some(429));
        begin(&watches, "admin", None, 1).unwrap();
    }

    #[test]
    fn tenants_leave_places_to_others_and_all_of_them_to_the_nodes_own() {
        let watches = Watches::default();
        let mut held = Vec::new();
        for user in ["acme.a", "acme.b"] {
            held.extend(begin(&watches, user, Some("acme"), WATCHES_OF_USER_MAX).unwrap());
        }
        assert_eq!(begin(&watches, "acme.c", Some("acme"), 1).err(), Some(429));
        held.extend(begin(&watches, "globex.a", Some("globex"), WATCHES_OF_USER_MAX).unwrap());
        assert_eq!(begin(&watches, "initech.a", Some("initech"), 1).err(), Some(503));
        held.extend(begin(&watches, "admin", None, WATCHES_OF_USER_MAX).unwrap());
        assert_eq!(held.len(), WATCHES_MAX);
        assert_eq!(begin(&watches, "operator", None, 1).err(), Some(503));
    }
}
