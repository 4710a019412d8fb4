//! What a transport and a command that works in many steps tell each other while it runs.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use quarry_env::Signal;
use quarry_target::{Drain, DrainId};

use crate::sense::{Code, Key, Sense};
use crate::unit::Unit;

/// The course of a task: whether it is to go on, and which units it works on. Reads and writes, which are one step, have none.
#[derive(Default)]
pub struct Course {
    stopped: Cell<bool>,
    left: Cell<bool>,
    changed: Signal,
    units: RefCell<Vec<Rc<Unit>>>,
    own: RefCell<Option<DrainId>>,
}

impl Course {
    /// Has the task end before its next step.
    pub fn stop(&self) {
        self.stopped.set(true);
        self.changed.raise();
    }

    /// The session ends: a task that only waits for something that goes on by itself waits no longer.
    pub fn leave(&self) {
        self.left.set(true);
        self.changed.raise();
    }

    /// Resolves when there is nothing to be waited for any more: it was stopped, or the session ends.
    pub(crate) async fn abandoned(&self) {
        while !self.stopped.get() && !self.left.get() {
            self.changed.after(self.changed.version()).await;
        }
    }

    /// The task itself waits for `drain`.
    pub(crate) fn own(&self, drain: &Drain) {
        *self.own.borrow_mut() = Some(drain.id());
    }

    /// Whether it is the task itself that waits for `drain`, for which it must not be waited then.
    pub fn owns(&self, drain: &Drain) -> bool {
        self.own.borrow().as_ref().is_some_and(|own| own.is(drain))
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
