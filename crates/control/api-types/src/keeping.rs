//! How one volume is kept: as its pool, or in its own way.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Protection, Tier};

/// The word for "whatever the pool does".
const AS_POOL: &str = "pool";

/// How a volume is to be kept: `pool` for as its pool keeps what it holds, also when that changes; or a protection of its own, as of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^(pool|copies:[1-4]|ec:[2-8]\\+[1-3])$", example = "copies:3")]
pub struct OwnProtection(pub Option<Protection>);

/// Where a volume is to lie: `pool` for as its pool's data does, also when that changes; or a tier of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^(pool|automatic|pmem|nvme|ssd|hdd|object)$", example = "nvme")]
pub struct OwnTier(pub Option<Tier>);

macro_rules! own {
    ($own:ident, $of:ty) => {
        impl fmt::Display for $own {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match &self.0 {
                    Some(own) => own.fmt(f),
                    None => f.write_str(AS_POOL),
                }
            }
        }

        impl FromStr for $own {
            type Err = <$of as FromStr>::Err;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                if text == AS_POOL { Ok(Self(None)) } else { Ok(Self(Some(text.parse()?))) }
            }
        }

        impl TryFrom<String> for $own {
            type Error = <$of as FromStr>::Err;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$own> for String {
            fn from(own: $own) -> Self {
                own.to_string()
            }
        }
    };
}

own!(OwnProtection, Protection);
own!(OwnTier, Tier);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_kept_as_its_pool_or_in_its_own_way() {
        for text in ["pool", "copies:3", "ec:4+2"] {
            assert_eq!(text.parse::<OwnProtection>().unwrap().to_string(), text);
        }
        for text in ["pool", "automatic", "hdd"] {
            assert_eq!(text.parse::<OwnTier>().unwrap().to_string(), text);
        }
        assert!("copies:9".parse::<OwnProtection>().is_err() && "tape".parse::<OwnTier>().is_err());
        assert_eq!(serde_json::from_str::<OwnTier>("\"pool\"").unwrap(), OwnTier(None));
        assert_eq!(serde_json::to_string(&OwnTier(Some(Tier::Hdd))).unwrap(), "\"hdd\"");
    }
}
