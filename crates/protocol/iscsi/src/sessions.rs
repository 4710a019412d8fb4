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
    handle: u16,
    /// Asks the session to end.
    stop: Stop,
    /// Given when it has ended.
    ended: Stop,
}

/// What has one name: at most one session, and those that it takes the place of while they end.
#[derive(Default)]
struct Namesakes {
    present: Option<Present>,
    /// Given when they have ended.
    leaving: Vec<Stop>,
}

#[derive(Default)]
struct Table {
    next: u64,
    next_handle: u16,
    sessions: BTreeMap<SessionName, Namesakes>,
}

/// The table. Clones are the same one. Asked when a session begins and ends.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<Table>>);

/// What a new session takes the place of: the last one of its name, and others before that one which have not ended either.
pub struct Former(Vec<Stop>);

impl Former {
    /// Whether all have ended.
    pub fn has_ended(&self) -> bool {
        self.0.iter().all(Stop::is_stopped)
    }

    /// Waits until all have ended.
    pub async fn ended(&self) {
        for one in &self.0 {
            one.stopped().await;
        }
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
    pub fn enter(&self, name: SessionName, stop: Stop) -> (Place, Former) {
        let mut table = self.table();
        table.next += 1;
        table.next_handle = table.next_handle.checked_add(1).unwrap_or(1);
        let (number, handle, ended) = (table.next, table.next_handle, Stop::default());
        let namesakes = table.sessions.entry(name.clone()).or_default();
        let former = namesakes.present.replace(Present { number, handle, stop, ended: ended.clone() });
        namesakes.leaving.retain(|one| !one.is_stopped());
        namesakes.leaving.extend(former.as_ref().map(|former| former.ended.clone()));
        let leaving = Former(namesakes.leaving.clone());
        drop(table);
        if let Some(former) = former {
            former.stop.stop();
        }
        (Place { sessions: self.clone(), name, number, handle, ended }, leaving)
    }

    /// Whether an initiator has a session with this identifier.
    pub fn has(&self, isid: [u8; 6], handle: u16) -> bool {
        let table = self.table();
        let mut ours = table.sessions.iter().filter(|(name, _)| name.isid == isid);
        ours.any(|(_, namesakes)| namesakes.present.as_ref().is_some_and(|one| one.handle == handle))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.table().sessions.values().filter(|namesakes| namesakes.present.is_some()).count()
    }
}

impl Place {
    /// The target's part of the session identifier, never 0.
    pub fn handle(&self) -> u16 {
        self.handle
    }

    /// Tells whether another session takes this place.
    pub fn successor(&self) -> Successor {
        Successor { sessions: self.sessions.clone(), name: self.name.clone(), number: self.number }
    }
}

/// Whether there is another session in a place.
pub struct Successor {
    sessions: Sessions,
    name: SessionName,
    number: u64,
}

impl Successor {
    /// The initiator has logged in again: nobody reads the answers of its former session.
    pub fn is_there(&self) -> bool {
        let table = self.sessions.table();
        let present = table.sessions.get(&self.name).and_then(|namesakes| namesakes.present.as_ref());
        present.is_some_and(|present| present.number != self.number)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ended.stop();
        let mut table = self.sessions.table();
        let Some(namesakes) = table.sessions.get_mut(&self.name) else { return };
        namesakes.present.take_if(|present| present.number == self.number);
        namesakes.leaving.retain(|one| !one.is_stopped());
        if namesakes.present.is_none() && namesakes.leaving.is_empty() {
            table.sessions.remove(&self.name);
        }
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
        assert!(former.has_ended() && first.handle() != 0);
        let (other, former) = sessions.enter(name(2), other_stop.clone());
        assert!(former.has_ended() && other.handle() != first.handle());
        let (second, former) = sessions.enter(name(1), Stop::default());
        assert!(stop.is_stopped() && !other_stop.is_stopped() && !former.has_ended());
        drop(first);
        assert!(former.has_ended());
        assert!(sessions.has([1; 6], second.handle()) && !sessions.has([2; 6], second.handle()));
        assert_eq!(sessions.count(), 2, "the end of the first one leaves the second one where it is");
        drop((second, other));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn whoever_comes_waits_for_all_that_came_before() {
        let sessions = Sessions::default();
        let (first, _) = sessions.enter(name(1), Stop::default());
        let (second, of_second) = sessions.enter(name(1), Stop::default());
        let (third, of_third) = sessions.enter(name(1), Stop::default());
        assert_eq!(sessions.count(), 1);
        drop(second);
        assert!(!of_third.has_ended(), "the one before gave up, but the first one still runs");
        drop(third);
        let (fourth, of_fourth) = sessions.enter(name(1), Stop::default());
        assert!(!of_fourth.has_ended(), "also when nobody has the name any more");
        drop(first);
        assert!(of_second.has_ended() && of_third.has_ended() && of_fourth.has_ended());
        drop(fourth);
        assert!(sessions.table().sessions.is_empty());
    }
}
