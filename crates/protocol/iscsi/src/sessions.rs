//! The sessions of a node, by what identifies them: an initiator that logs in again takes the place of its former self (RFC 7143
//! section 6.3.5).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_target::Stop;

/// What identifies an initiator port, and so a session: there is one target and one portal group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SessionName {
    /// The initiator's name.
    pub initiator: String,
    /// The initiator's part of the session identifier.
    pub isid: [u8; 6],
}

struct Present {
    number: u64,
    /// Asks the session to end.
    stop: Stop,
    /// Given when it has ended.
    ended: Stop,
}

#[derive(Default)]
struct Table {
    next: u64,
    next_handle: u16,
    sessions: BTreeMap<SessionName, Present>,
}

/// The table. Clones are the same one. Asked when a session begins and ends.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Table>>);

/// What a new session takes the place of.
pub struct Former(Stop);

impl Former {
    /// The signal that it has ended.
    pub fn ended(&self) -> &Stop {
        &self.0
    }
}

/// A session's place in the table. Dropping it is how it leaves.
pub struct Place {
    sessions: Sessions,
    name: SessionName,
    number: u64,
    handle: u16,
    ended: Stop,
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while it holds the table of sessions")
    }

    /// Takes in a session that `stop` ends; the one that had its name is asked to end.
    pub fn enter(&self, name: SessionName, stop: Stop) -> (Place, Option<Former>) {
        let mut table = self.table();
        table.next += 1;
        table.next_handle = table.next_handle.checked_add(1).unwrap_or(1);
        let (number, handle, ended) = (table.next, table.next_handle, Stop::default());
        let present = Present { number, stop, ended: ended.clone() };
        let former = table.sessions.insert(name.clone(), present);
        drop(table);
        let former = former.map(|former| {
            former.stop.stop();
            Former(former.ended)
        });
        (Place { sessions: self.clone(), name, number, handle, ended }, former)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table().sessions.len()
    }
}

impl Place {
    /// The target's part of the session identifier, never 0.
    pub fn handle(&self) -> u16 {
        self.handle
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.sessions.table();
        if table.sessions.get(&self.name).is_some_and(|present| present.number == self.number) {
            table.sessions.remove(&self.name);
        }
        drop(table);
        self.ended.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(isid: u8) -> SessionName {
        SessionName { initiator: "iqn.a".to_owned(), isid: [isid; 6] }
    }

    #[test]
    fn a_session_takes_the_place_of_its_former_self() {
        let sessions = Sessions::default();
        let (stop, other_stop) = (Stop::default(), Stop::default());
        let (first, former) = sessions.enter(name(1), stop.clone());
        assert!(former.is_none() && first.handle() != 0);
        let (other, former) = sessions.enter(name(2), other_stop.clone());
        assert!(former.is_none() && other.handle() != first.handle());
        let (second, former) = sessions.enter(name(1), Stop::default());
        let former = former.expect("the first one");
        assert!(stop.is_stopped() && !other_stop.is_stopped() && !former.ended().is_stopped());
        drop(first);
        assert!(former.ended().is_stopped());
        assert_eq!(sessions.count(), 2, "the end of the first one leaves the second one where it is");
        drop((second, other));
        assert_eq!(sessions.count(), 0);
    }
}
