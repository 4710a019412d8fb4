//! Tokens.

use quarry_api_types::{Name, NewToken, Role, Timestamp, Token};

use crate::record::TokenRecord;
use crate::secret_token::{self, Fresh};
use crate::store::{AccessStore, State, Step};
use crate::{AccessError, Principal, Result};

/// Most tokens of a node, those of logins included.
const TOKENS_MAX: usize = 16_384;

/// Why a token does not prove anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unproven {
    /// It has not the form of a token, or there is none like it.
    Unknown,
    /// It has ended.
    Expired,
}

impl AccessStore {
    /// Who sends a token.
    pub fn authenticate(&self, text: &str, now: Timestamp) -> std::result::Result<Principal, Unproven> {
        let (id, secret) = secret_token::parse(text).ok_or(Unproven::Unknown)?;
        let state = self.state();
        let found = state.tokens.get(id).filter(|token| secret_token::matches(secret, &token.hash));
        let Token { user, role, tenant, expires, .. } = found.ok_or(Unproven::Unknown)?.token.clone();
        match expires {
            Some(expires) if expires <= now => Err(Unproven::Expired),
            _ => Ok(Principal { user, role, tenant, token: id.to_owned(), expires }),
        }
    }

    /// Every token, those that have ended and are still there included; sorted by id.
    pub fn tokens(&self) -> Vec<Token> {
        self.state().tokens.values().map(|token| token.token.clone()).collect()
    }

    /// One token.
    pub fn token(&self, id: &str) -> Result<Token> {
        self.state().tokens.get(id).map(|token| token.token.clone()).ok_or_else(|| no_token(id))
    }

    /// Makes a token that stands for a user. Whoever calls has checked that nobody gives more than he has.
    pub fn create_token(
        &self,
        user: &Name,
        (role, tenant): (Role, Option<&Name>),
        purpose: &str,
        now: Timestamp,
        expires: Option<Timestamp>,
    ) -> Result<NewToken> {
        let fresh = Fresh::new();
        let text = fresh.text.clone();
        self.change(|state| {
            if !state.users.contains_key(user) {
                return Err(AccessError::NotFound { sort: "user", name: user.to_string() });
            }
            if let Some(tenant) = tenant.filter(|tenant| !state.tenants.contains_key(*tenant)) {
                return Err(AccessError::NotFound { sort: "tenant", name: tenant.to_string() });
            }
            let mut steps = check_room(state, now)?;
            let record = fresh.record(user, role, tenant, purpose, now, expires);
            let token = record.token.clone();
            steps.push(Step::PutToken(record));
            Ok((steps, NewToken { token, text }))
        })
    }

    /// Ends a token.
    pub fn revoke_token(&self, id: &str) -> Result<()> {
        self.change(|state| match state.tokens.contains_key(id) {
            true => Ok((vec![Step::DeleteToken(id.to_owned())], ())),
            false => Err(no_token(id)),
        })
    }
}

impl Fresh {
    /// What is kept of it.
    pub(crate) fn record(
        self,
        user: &Name,
        role: Role,
        tenant: Option<&Name>,
        purpose: &str,
        created: Timestamp,
        expires: Option<Timestamp>,
    ) -> TokenRecord {
        let (user, tenant, purpose) = (user.clone(), tenant.cloned(), purpose.to_owned());
        let token = Token { id: self.id, user, role, tenant, purpose, created, expires };
        TokenRecord { token, hash: self.hash, is_login: false }
    }
}

/// The steps that forget tokens which have ended; fails when there are too many that have not.
pub(crate) fn check_room(state: &State, now: Timestamp) -> Result<Vec<Step>> {
    let ended =
        state.tokens.values().filter(|token| token.token.expires.is_some_and(|expires| expires <= now));
    let steps: Vec<_> = ended.map(|token| Step::DeleteToken(token.token.id.clone())).collect();
    match state.tokens.len() - steps.len() < TOKENS_MAX {
        true => Ok(steps),
        false => Err(AccessError::TooMany { sort: "token", most: TOKENS_MAX }),
    }
}

fn no_token(id: &str) -> AccessError {
    AccessError::NotFound { sort: "token", name: id.to_owned() }
}
