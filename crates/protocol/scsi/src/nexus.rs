//! The units that one initiator sees through one port: an I_T nexus (SAM-6 4.9).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use quarry_env::{BufferPool, LocalSpawner};
use quarry_target::{Access, Drained, Fabric, Host, Initiator, Volumes};
use quarry_volume::Volume;

use crate::attention::{Attention, Signal};
use crate::cdb::Cdb;
use crate::command::{self, Accepted};
use crate::limits::COPY_RESULTS_MAX;
use crate::lun::Lun;
use crate::missing;
use crate::sense::{Code, Sense};
use crate::shared::Units;
use crate::unit::Unit;

/// The port of the target that an initiator came in by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// The name of the device, for example `iqn.2026-11.io.quarry:7`.
    pub device_name: String,
    /// The name of the port, for example the same with `,t,0x0001` behind it.
    pub name: String,
    /// Its number among the ports of the target.
    pub relative_id: u16,
    /// The group of ports with which it shares the state of access.
    pub group: u16,
}

/// Who an initiator is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// By which the table of hosts knows it.
    pub name: String,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// By which it registers for reservations.
    pub registrant: Initiator,
    /// The host that it was when it logged in, with what it has proven to know.
    pub host: Option<Arc<Host>>,
}

impl Identity {
    /// Whether what was proven at the login is what `host` asks for now.
    fn may_be(&self, host: Option<&Host>) -> bool {
        let Some(wanted) = host.and_then(|host| host.chap.as_ref()) else { return true };
        self.host.as_ref().and_then(|host| host.chap.as_ref()) == Some(wanted)
    }
}

/// What a node lends to a nexus.
#[derive(Clone)]
pub struct Node {
    /// Who sees what.
    pub access: Access,
    /// Which protocol it is.
    pub fabric: Fabric,
    /// The volumes that the core of the nexus can reach.
    pub volumes: Rc<dyn Volumes>,
    /// What nexuses share.
    pub units: Units,
    /// Memory for answers.
    pub buffers: BufferPool,
    /// Runs what goes on when the session has ended.
    pub spawner: LocalSpawner,
}

/// The outcome of a copy that the initiator may ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CopyResult {
    pub(crate) list: u8,
    pub(crate) segments: u16,
    pub(crate) bytes: u64,
    pub(crate) failed: bool,
}

/// An I_T nexus on one core.
pub struct Nexus {
    node: Node,
    identity: Identity,
    port: Port,
    signal: Arc<Signal>,
    generation: Cell<u64>,
    units: RefCell<BTreeMap<u32, Rc<Unit>>>,
    copies: RefCell<VecDeque<CopyResult>>,
    changed: Cell<bool>,
}

impl Nexus {
    /// A new one; each of its units tells so.
    pub fn new(node: Node, identity: Identity, port: Port) -> Rc<Self> {
        let nexus = Self {
            node,
            identity,
            port,
            signal: Arc::default(),
            generation: Cell::new(u64::MAX),
            units: RefCell::default(),
            copies: RefCell::default(),
            changed: Cell::new(false),
        };
        nexus.refresh();
        Rc::new(nexus)
    }

    /// What wakes the session when another one wants something of it.
    pub fn signal(&self) -> &Signal {
        &self.signal
    }

    pub(crate) fn port(&self) -> &Port {
        &self.port
    }

    pub(crate) fn buffers(&self) -> &BufferPool {
        &self.node.buffers
    }

    pub(crate) fn spawner(&self) -> &LocalSpawner {
        &self.node.spawner
    }

    pub(crate) fn shared_units(&self) -> &Units {
        &self.node.units
    }

    /// The state of the table of hosts that it has seen.
    pub fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Whether units have come or gone since the last time that this was asked.
    pub fn take_changed(&self) -> bool {
        self.changed.take()
    }

    /// Looks again at what the initiator sees, if that has changed.
    pub fn refresh(&self) {
        if self.node.access.generation() == self.generation.get() {
            return;
        }
        let mut view = self.node.access.view(self.node.fabric, &self.identity.name, self.identity.address);
        // Whoever is another host by now, or one with another secret, must log in again to show that.
        if !self.identity.may_be(view.host.as_deref()) {
            view.units.clear();
        }
        let first = self.generation.replace(view.generation) == u64::MAX;
        let mut units = self.units.borrow_mut();
        let before = units.len();
        units.retain(|number, unit| {
            view.units.iter().any(|mapping| mapping.number == *number && unit.is(mapping))
        });
        let mut changed = units.len() != before;
        for mapping in &view.units {
            if let Some(unit) = units.get(&mapping.number) {
                unit.resize(mapping.volume.size_bytes);
                continue;
            }
            let node = &self.node;
            let unit =
                Unit::new(mapping, &node.units, &self.identity.registrant, &self.signal, &node.buffers);
            units.insert(mapping.number, unit);
            changed = true;
        }
        if changed && !first {
            units.values().for_each(|unit| unit.raise(Attention::LunsChanged));
            self.changed.set(true);
        }
    }

    /// The most important attention of a unit, which is told now. That other units are there is told once, not by each of them (LUICLR, SPC-4
    /// 7.8.7).
    pub(crate) fn take_attention(&self, unit: &Unit) -> Option<Sense> {
        let told = unit.mailbox().take_attention()?;
        if told.code == Code::LUNS_CHANGED {
            self.forget_luns_changed();
        }
        Some(told)
    }

    /// The initiator has asked what units there are (SPC-4 6.33).
    pub(crate) fn forget_luns_changed(&self) {
        self.units.borrow().values().for_each(|unit| unit.mailbox().forget(Attention::LunsChanged));
    }

    /// The numbers of the units, in order.
    pub fn numbers(&self) -> Vec<u32> {
        self.units.borrow().keys().copied().collect()
    }

    /// All units.
    pub fn units(&self) -> Vec<Rc<Unit>> {
        self.units.borrow().values().cloned().collect()
    }

    /// Whether the initiator still sees this very unit.
    pub fn has(&self, unit: &Rc<Unit>) -> bool {
        self.refresh();
        self.units.borrow().get(&unit.number()).is_some_and(|one| Rc::ptr_eq(one, unit))
    }

    /// The unit with this number, connected to its volume if this core can reach it.
    pub fn unit(&self, lun: Lun) -> Option<Rc<Unit>> {
        let unit = self.units.borrow().get(&lun.number()?).cloned()?;
        if !unit.is_connected() {
            unit.connect(self.node.volumes.volume(unit.id()));
        }
        Some(unit)
    }

    /// What comes of a command to a unit, of which `out_bytes` of data are on their way or here.
    pub fn accept(self: &Rc<Self>, lun: Lun, cdb: &Cdb, out_bytes: u32) -> Accepted {
        self.refresh();
        match self.unit(lun) {
            Some(unit) => command::accept(self, unit, cdb, out_bytes),
            None => Accepted::Answered(missing::answer(self, cdb)),
        }
    }

    /// LOGICAL UNIT RESET: all commands of all initiators end, which the result waits for. `None` where there is no such unit.
    pub fn reset_unit(&self, lun: Lun) -> Option<Drained> {
        let unit = self.unit(lun)?;
        Some(unit.shared.reset())
    }

    /// A reset of every unit that this nexus sees.
    pub fn reset_all(&self) -> Vec<Drained> {
        self.units().iter().map(|unit| unit.shared.reset()).collect()
    }

    /// I_T NEXUS RESET (SAM-6 7.6), apart from its commands, which the caller gives up: what the nexus has reserved by RESERVE is free,
    /// and each of its units says so.
    pub fn lose(&self) {
        for unit in self.units() {
            unit.member().end_exclusive();
            unit.raise(Attention::NexusLost);
        }
    }

    pub(crate) fn volume_of(&self, matches: impl Fn(&Unit) -> bool) -> Option<(Rc<Unit>, Rc<dyn Volume>)> {
        let numbers = self.numbers();
        let mut units = numbers.into_iter().filter_map(|number| self.unit(Lun::of(number)));
        let unit = units.find(|unit| matches(unit))?;
        let volume = unit.volume().ok()?;
        Some((unit, volume))
    }

    pub(crate) fn remember_copy(&self, result: CopyResult) {
        let mut copies = self.copies.borrow_mut();
        copies.retain(|copy| copy.list != result.list);
        if copies.len() >= COPY_RESULTS_MAX {
            copies.pop_front();
        }
        copies.push_back(result);
    }

    pub(crate) fn copy_result(&self, list: u8) -> Option<CopyResult> {
        self.copies.borrow().iter().find(|copy| copy.list == list).copied()
    }
}
