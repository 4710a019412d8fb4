//! Tokens: what a request proves itself with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::user::check_tenant;
use crate::{InvalidRequest, Name, Role, Secret, Timestamp};

/// Longest life of a token that ends, in seconds: ten years.
pub const TOKEN_LIFE_S_MAX: u64 = 10 * 366 * 86_400;
/// Most characters of what a token is said to be for.
pub const TOKEN_PURPOSE_CHARACTERS_MAX: usize = 200;

/// A token as it is now. Its text is never shown again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its id, 16 hexadecimal digits: the first part of its text.
    #[schema(pattern = "^[0-9a-f]{16}$")]
    pub id: String,
    /// The user that it stands for.
    pub user: Name,
    /// What it may do.
    pub role: Role,
    /// The tenant to which it is confined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// What it is for, in words of whoever made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub purpose: String,
    /// When it was made.
    pub created: Timestamp,
    /// When it ends. Absent for one that does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A new token with its text, which is shown this once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// What goes behind `Authorization: Bearer`.
    #[schema(value_type = String)]
    pub text: Secret,
}

/// A request for a new token.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it may do; what its maker may when absent. Nobody gives more than he has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The tenant to which it is confined; its maker's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Name>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(max_length = 200, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    pub purpose: String,
    /// How long it lives in seconds; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 316224000)]
    pub life_s: Option<u64>,
}

impl CreateToken {
    /// Checks all that can be judged without knowing who asks.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if let Some(role) = self.role {
            // A tenant's own people need not name it.
            let is_left_out = role.is_of_tenant() && self.tenant.is_none();
            if !is_left_out {
                check_tenant(role, self.tenant.as_ref())?;
            }
        }
        if self.purpose.chars().count() > TOKEN_PURPOSE_CHARACTERS_MAX
            || self.purpose.chars().any(char::is_control)
        {
            let message =
                format!("at most {TOKEN_PURPOSE_CHARACTERS_MAX} characters, and no control characters");
            return Err(InvalidRequest::new("purpose", message));
        }
        match self.life_s {
            Some(life) if !(1..=TOKEN_LIFE_S_MAX).contains(&life) => {
                Err(InvalidRequest::new("life_s", format!("1 to {TOKEN_LIFE_S_MAX} seconds, not {life}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_a_while_and_fits_its_tenant() {
        assert_eq!(CreateToken::default().check(), Ok(()));
        let role = |role, tenant: Option<&str>| CreateToken {
            role: Some(role),
            tenant: tenant.map(|name| name.parse().unwrap()),
            ..CreateToken::default()
        };
        assert_eq!(role(Role::TenantUser, None).check(), Ok(()));
        for (bad, part) in [
            (role(Role::Auditor, Some("acme")), "not in a tenant"),
            (CreateToken { life_s: Some(0), ..CreateToken::default() }, "life_s: 1 to"),
            (CreateToken { purpose: "a\nb".to_owned(), ..CreateToken::default() }, "purpose"),
        ] {
            assert!(bad.check().unwrap_err().to_string().contains(part));
        }
    }

    #[test]
    fn a_new_token_is_the_token_and_its_text() {
        let json = r#"{"id":"0011223344556677","user":"ann","role":"admin","created":"2026-11-20T09:30:00Z","text":"qt_x"}"#;
        let new: NewToken = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&new).unwrap(), json);
        assert!(!format!("{new:?}").contains("qt_x"));
    }
}
