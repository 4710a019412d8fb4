//! Connections that have proven nothing: logins under way, and discovery sessions. Anybody can have as many as the node lets him,
//! so they are few, and the oldest gives way: a login that goes well is over long before its turn comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use quarry_target::Stop;

use crate::limits::STRANGERS_MAX;

#[derive(Default)]
struct Table {
    next: u64,
    stops: BTreeMap<u64, Stop>,
}

/// The strangers of a node. Clones are the same ones.
#[derive(Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Table>>);

/// One of them. Dropping it ends that.
pub(crate) struct Stranger {
    strangers: Strangers,
    number: u64,
}

impl Strangers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().expect("nothing panics while it holds the table of strangers")
    }

    /// Takes in a connection that `stop` ends. Where there are too many, the oldest is ended.
    pub(crate) fn enter(&self, stop: Stop) -> Stranger {
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.stops.insert(number, stop);
        let oldest = if table.stops.len() > STRANGERS_MAX { table.stops.pop_first() } else { None };
        drop(table);
        if let Some((_, stop)) = oldest {
            stop.stop();
        }
        Stranger { strangers: self.clone(), number }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.table().stops.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_to_the_newest() {
        let strangers = Strangers::default();
        let stops: Vec<Stop> = (0..=STRANGERS_MAX).map(|_| Stop::default()).collect();
        let known = strangers.enter(Stop::default());
        drop(known);
        let all: Vec<Stranger> = stops.iter().map(|stop| strangers.enter(stop.clone())).collect();
        let stopped = |stops: &[Stop]| stops.iter().filter(|stop| stop.is_stopped()).count();
        assert_eq!((stopped(&stops[..1]), stopped(&stops[1..])), (1, 0));
        drop(all);
        assert!(strangers.table().stops.is_empty());
    }
}
