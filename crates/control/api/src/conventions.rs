//! What holds for every operation, whatever it does.
//!
//! - Of a list a client can have some of the items, by what they say, and pages of them (`lists`).
//! - Events and the audit log come in parts (`parts`).
//! - An answer has an entity tag; one that the client has need not be sent again, and a change can be made to depend on it (`tags`,
//!   RFC 9110 section 13), as far as it is intended and not measured (`intended`). Changes of one object that depend on its tag exclude
//!   every other change of it (`objects`).
//! - A change with a key is made once, however often it is sent (`repeats`).

mod intended;
mod lists;
mod objects;
mod parts;
mod repeats;
mod tags;

pub(crate) use intended::Intended;
pub(crate) use lists::{Lists, Selection, key_of};
pub(crate) use objects::{Entered, Objects};
pub(crate) use parts::{answer as part, check_limit};
pub(crate) use repeats::{Known, Repeats};
pub(crate) use tags::{Tag, is_known, is_wanted};
