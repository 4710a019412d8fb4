//! Users.

use quarry_api_types::{CreateUser, Login, Name, NewToken, Role, Secret, Timestamp, User, tenant_of};

use crate::password::{PasswordHash, pretend};
use crate::record::UserRecord;
use crate::secret_token::Fresh;
use crate::store::{AccessStore, State, Step};
use crate::tokens::check_room;
use crate::{AccessError, Result};

/// Most users of a node.
const USERS_MAX: usize = 4096;

impl AccessStore {
    /// Every user, sorted by name.
    pub fn users(&self) -> Vec<User> {
        self.state().users.values().map(UserRecord::show).collect()
    }

    /// One user.
    pub fn user(&self, name: &Name) -> Result<User> {
        self.state().users.get(name).map(UserRecord::show).ok_or_else(|| no_user(name))
    }

    /// Makes a user. Fails when its name is taken or its tenant does not exist.
    pub fn create_user(&self, request: CreateUser, now: Timestamp) -> Result<User> {
        let password = Some(PasswordHash::new(request.password.reveal()));
        let CreateUser { name, role, tenant, .. } = request;
        self.change(|state| {
            if state.users.contains_key(&name) {
                return Err(AccessError::Taken { sort: "user", name });
            }
            if state.users.len() >= USERS_MAX {
                return Err(AccessError::TooMany { sort: "user", most: USERS_MAX });
            }
            if let Some(tenant) = tenant.as_ref().filter(|tenant| !state.tenants.contains_key(*tenant)) {
                return Err(AccessError::NotFound { sort: "tenant", name: tenant.to_string() });
            }
            // Whoever manages the users of a tenant gives passwords to all that have its name in front.
            let other = tenant_of(name.as_str())
                .filter(|other| tenant.as_ref().is_none_or(|own| own.as_str() != *other));
            if let Some(other) =
                other.filter(|other| state.tenants.keys().any(|tenant| tenant.as_str() == *other))
            {
                let tenant = other.to_owned();
                return Err(AccessError::NameOfTenant { name, tenant });
            }
            let record = UserRecord { name, role, tenant, password, created: now };
            let shown = record.show();
            Ok((vec![Step::PutUser(record)], shown))
        })
    }

    /// Ends a user, and every token that stands for it. The last admin stays: nobody else could make another one.
    pub fn delete_user(&self, name: &Name) -> Result<()> {
        self.change(|state| {
            let user = state.users.get(name).ok_or_else(|| no_user(name))?;
            let admins = state.users.values().filter(|user| user.role == Role::Admin);
            if user.role == Role::Admin && admins.count() == 1 {
                return Err(AccessError::LastAdmin { name: name.clone() });
            }
            let mut steps = tokens_of(state, name, |_| true);
            steps.push(Step::DeleteUser(name.clone()));
            Ok((steps, ()))
        })
    }

    /// Gives a user another password and ends what it has logged in to.
    pub fn set_password(&self, name: &Name, password: &Secret) -> Result<()> {
        let password = Some(PasswordHash::new(password.reveal()));
        self.change(|state| {
            let user = state.users.get(name).ok_or_else(|| no_user(name))?;
            let mut steps = tokens_of(state, name, |is_login| is_login);
            steps.push(Step::PutUser(UserRecord { password, ..user.clone() }));
            Ok((steps, ()))
        })
    }

    /// Whether it is the password of this user. Takes the same time when there is no such user.
    pub fn is_password(&self, name: &Name, password: &Secret) -> bool {
        let kept = self.state().users.get(name).and_then(|user| user.password.clone());
        kept.map_or_else(|| pretend(password.reveal()), |kept| kept.is_of(password.reveal()))
    }

    /// A token for a password, which lives until `expires`.
    pub fn log_in(&self, login: &Login, now: Timestamp, expires: Timestamp) -> Result<NewToken> {
        if !self.is_password(&login.user, &login.password) {
            return Err(AccessError::WrongPassword);
        }
        let fresh = Fresh::new();
        let text = fresh.text.clone();
        self.change(|state| {
            // It may have been deleted while its password was looked at.
            let user = state.users.get(&login.user).ok_or(AccessError::WrongPassword)?;
            let mut steps = check_room(state, now)?;
            let mut record =
                fresh.record(&user.name, user.role, user.tenant.as_ref(), "login", now, Some(expires));
            record.is_login = true;
            let token = record.token.clone();
            steps.push(Step::PutToken(record));
            Ok((steps, NewToken { token, text }))
        })
    }
}

fn tokens_of(state: &State, user: &Name, is_meant: impl Fn(bool) -> bool) -> Vec<Step> {
    let meant = state.tokens.values().filter(|token| token.token.user == *user && is_meant(token.is_login));
    meant.map(|token| Step::DeleteToken(token.token.id.clone())).collect()
}

fn no_user(name: &Name) -> AccessError {
    AccessError::NotFound { sort: "user", name: name.to_string() }
}
