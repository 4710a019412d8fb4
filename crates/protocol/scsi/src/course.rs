//! What a transport and a command that works in many steps tell each other while it runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::sense::{Code, Key, Sense};
use crate::unit::Unit;

/// The course of a task: whether it is to go on, and which units it works on. Reads and writes, which are one step, have none.
#[derive(Default)]
pub struct Course {
    stopped: Cell<bool>,
    units: RefCell<Vec<Rc<Unit>>>,
}

impl Course {
    /// Has the task end before its next step.
    pub fn stop(&self) {
        self.stopped.set(true);
    }

    /// The units that it works on beside the one that it was sent to.
    pub fn units(&self) -> Vec<Rc<Unit>> {
        self.units.borrow().clone()
    }

    /// Whether it works on `unit` beside the one that it was sent to.
    pub fn concerns(&self, unit: &Rc<Unit>) -> bool {
        self.units.borrow().iter().any(|one| Rc::ptr_eq(one, unit))
    }

    /// From now on it works on `unit` too.
    pub(crate) fn join(&self, unit: &Rc<Unit>) {
        if !self.concerns(unit) {
            self.units.borrow_mut().push(unit.clone());
        }
    }

    /// Asked before each step.
    pub(crate) fn go_on(&self) -> Result<(), Sense> {
        match self.stopped.get() {
            true => Err(Sense::new(Key::AbortedCommand, Code::NONE)),
            false => Ok(()),
        }
    }
}
