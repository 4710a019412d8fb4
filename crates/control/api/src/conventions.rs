//! What holds for every operation, whatever it does.
//!
//! - Of a list a client can have some of the items, by what they say, and pages of them (`lists`).
//! - An answer has an entity tag; one that the client has need not be sent again, and a change can be made to depend on it (`tags`,
//!   RFC 9110 section 13). Changes of one object that depend on its tag exclude every other change of it (`objects`).
//! - A change with a key is made once, however often it is sent (`repeats`).

mod lists;
mod objects;
mod repeats;
mod tags;

pub(crate) use lists::{Lists, Selection, key_of};
pub(crate) use objects::{Entered, Objects};
pub(crate) use repeats::{Known, Repeats};
pub(crate) use tags::{Tag, is_known, is_wanted};
