//! The namespaces of a queue: what its host sees, as volumes of its core.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use quarry_target::{Mapping, Member, Stopped, View, Volumes};
use quarry_types::VolumeId;
use quarry_volume::{Volume, VolumeInfo};

use crate::controller::Controller;
use crate::limits::{ANA_GROUPS_MAX, LBA_BYTES, NAMESPACES_MAX};
use crate::reservation::{Activity, Mailbox, NamespaceWatcher, initiator};
use crate::subsystem::Subsystem;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::EVERY_NAMESPACE;

/// What lets a host use a namespace. A command keeps it, and asks it again when it begins: its data may have been on its way while
/// somebody took the namespace away.
pub(crate) struct Permit {
    subsystem: Subsystem,
    controller: Arc<Controller>,
    mapping: Arc<Mapping>,
    /// The state of the table of hosts that it was looked at in last.
    generation: Cell<u64>,
    /// Once withdrawn it stays so: what the host is shown afterwards under the same id it has to ask for anew.
    withdrawn: Cell<Option<Status>>,
}

impl Permit {
    /// Fails when the host does not see the namespace any more as it was.
    pub(crate) fn check(&self) -> Result<(), Status> {
        if self.subsystem.access().generation() != self.generation.get() {
            self.look_at(&self.subsystem.view(self.controller.host()));
        }
        self.withdrawn.get().map_or(Ok(()), Err)
    }

    /// Compares what it was given for with what the host sees now.
    #[cold]
    fn look_at(&self, view: &View) {
        self.generation.set(view.generation);
        let ours = &self.mapping;
        let found = view.units.binary_search_by_key(&ours.number, |mapping| mapping.number);
        let found = found.ok().map(|index| &view.units[index]);
        let verdict = match found.filter(|mapping| mapping.volume.id == ours.volume.id) {
            None => Some(Status::INVALID_NAMESPACE),
            Some(mapping) if mapping.read_only && !ours.read_only => Some(Status::WRITE_PROTECTED),
            Some(_) => None,
        };
        if self.withdrawn.get().is_none() {
            self.withdrawn.set(verdict);
        }
    }
}

/// A namespace on one core.
pub(crate) struct Namespace {
    pub(crate) mapping: Arc<Mapping>,
    permit: Rc<Permit>,
    /// The queue's place at the reservations of the volume.
    pub(crate) member: Rc<Member>,
    /// The commands of the queue that are under way.
    pub(crate) activity: Rc<Activity>,
    /// Whether the host knows that the id stands for this volume.
    is_known: bool,
    /// `None` as long as this core does not have the volume.
    volume: Option<OpenVolume>,
}

/// A volume with those of its facts that every command is checked against.
#[derive(Clone)]
pub(crate) struct OpenVolume {
    pub(crate) volume: Rc<dyn Volume>,
    pub(crate) blocks: u64,
    pub(crate) compare_bytes_max: u32,
    pub(crate) read_only: bool,
    pub(crate) permit: Rc<Permit>,
    pub(crate) member: Rc<Member>,
    pub(crate) activity: Rc<Activity>,
}

impl Namespace {
    /// Opens the volume on this core, if the core has it.
    fn open(&mut self, volumes: &dyn Volumes) {
        self.volume = volumes.volume(self.mapping.volume.id).map(|volume| {
            let info = volume.info();
            OpenVolume {
                blocks: info.size_bytes / LBA_BYTES,
                compare_bytes_max: info.compare_bytes_max,
                read_only: info.read_only || self.mapping.read_only,
                permit: self.permit.clone(),
                member: self.member.clone(),
                activity: self.activity.clone(),
                volume,
            }
        });
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.mapping.number
    }

    /// Its volume's facts.
    pub(crate) fn info(&self) -> &VolumeInfo {
        &self.mapping.volume
    }

    /// Whether writes are refused.
    pub(crate) fn is_read_only(&self) -> bool {
        self.mapping.read_only || self.mapping.volume.read_only
    }

    /// The group of namespaces whose access changes together: those of one core, from 1.
    pub(crate) fn ana_group(&self) -> u32 {
        self.mapping.core as u32 % ANA_GROUPS_MAX + 1
    }

    /// What a host has to be told of when it changes.
    pub(crate) fn facts(&self) -> (VolumeId, u64, bool, usize) {
        (self.info().id, self.info().size_bytes, self.is_read_only(), self.mapping.core)
    }
}

/// What a host sees through one queue.
pub(crate) struct Namespaces {
    subsystem: Subsystem,
    controller: Arc<Controller>,
    volumes: Rc<dyn Volumes>,
    mailbox: Arc<Mailbox>,
    generation: u64,
    /// By id.
    list: Vec<Namespace>,
    /// The commands under way by volume, also of volumes that the host sees no more: what was begun is not over with that.
    activities: BTreeMap<VolumeId, Rc<Activity>>,
    changed: Stopped,
}

impl Namespaces {
    pub(crate) fn new(subsystem: Subsystem, controller: Arc<Controller>, volumes: Rc<dyn Volumes>) -> Self {
        let view = subsystem.view(controller.host());
        let changed = subsystem.access().changed_since(view.generation);
        let generation = view.generation;
        let mailbox = Arc::default();
        let (list, activities) = (Vec::new(), BTreeMap::new());
        let mut namespaces =
            Self { subsystem, controller, volumes, mailbox, generation, list, activities, changed };
        namespaces.list = namespaces.open(view);
        namespaces
    }

    fn open(&mut self, view: View) -> Vec<Namespace> {
        let initiator = initiator(self.controller.host().id);
        let open = |mapping: Arc<Mapping>| {
            let volume = mapping.volume.id;
            let watcher =
                NamespaceWatcher { namespace: mapping.number, volume, mailbox: self.mailbox.clone() };
            let reservations = self.subsystem.reservations().of(volume);
            let member = Rc::new(reservations.attach(initiator.clone(), Arc::new(watcher)));
            // What is under way on the volume stays so, whatever has changed of its mapping.
            let activity = self.activities.entry(volume).or_default().clone();
            let is_known = self.controller.takes_for(mapping.number, volume);
            let permit = Rc::new(Permit {
                subsystem: self.subsystem.clone(),
                controller: self.controller.clone(),
                mapping: mapping.clone(),
                generation: Cell::new(view.generation),
                withdrawn: Cell::new(None),
            });
            let mut namespace = Namespace { mapping, permit, member, activity, is_known, volume: None };
            namespace.open(self.volumes.as_ref());
            namespace
        };
        view.units.into_iter().take(NAMESPACES_MAX).map(open).collect()
    }

    /// Resolves when somebody has changed who sees what.
    pub(crate) fn changed(&mut self) -> &mut Stopped {
        &mut self.changed
    }

    /// Looks again if something has changed; what was seen before, then.
    pub(crate) fn refresh(&mut self) -> Option<Vec<Namespace>> {
        if self.subsystem.access().generation() == self.generation {
            return None;
        }
        // Nobody needs what is the table's alone: the host sees the volume no more, and nothing is under way on it.
        self.activities.retain(|_, activity| Rc::strong_count(activity) > 1);
        let view = self.subsystem.view(self.controller.host());
        // Commands that wait for data must find out, whatever the namespace is by the time that it comes.
        self.list.iter().for_each(|namespace| namespace.permit.look_at(&view));
        self.generation = view.generation;
        self.changed = self.subsystem.access().changed_since(view.generation);
        let list = self.open(view);
        Some(std::mem::replace(&mut self.list, list))
    }

    /// Whether the host has an identifier, without which it cannot reserve anything.
    pub(crate) fn host_has_id(&self) -> bool {
        self.controller.host().has_id()
    }

    /// The commands under way on a volume, whether the host still sees it or not.
    pub(crate) fn activity(&self, volume: VolumeId) -> Option<&Activity> {
        self.activities.get(&volume).map(Rc::as_ref)
    }

    /// Where notices about reservations wait.
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// All of them, by id.
    pub(crate) fn list(&self) -> &[Namespace] {
        &self.list
    }

    fn index(&self, id: u32) -> Result<usize, Status> {
        // Most hosts have few, numbered from 1 on.
        let guess = (id as usize).wrapping_sub(1);
        if self.list.get(guess).is_some_and(|namespace| namespace.id() == id) {
            return Ok(guess);
        }
        self.list.binary_search_by_key(&id, Namespace::id).map_err(|_| Status::INVALID_NAMESPACE)
    }

    /// The namespace with this id.
    pub(crate) fn find(&self, id: u32) -> Result<&Namespace, Status> {
        self.index(id).map(|index| &self.list[index])
    }

    /// The volume of a namespace, for a command: refused as long as the host takes the namespace for another volume.
    pub(crate) fn volume(&mut self, id: u32) -> Result<&OpenVolume, Status> {
        let index = self.index(id)?;
        let namespace = &mut self.list[index];
        if !namespace.is_known {
            namespace.is_known = self.controller.takes_for(id, namespace.info().id);
        }
        if !namespace.is_known {
            return Err(Status::NAMESPACE_REPLACED);
        }
        self.opened(index)
    }

    fn opened(&mut self, index: usize) -> Result<&OpenVolume, Status> {
        let namespace = &mut self.list[index];
        if namespace.volume.is_none() {
            // It may have been opened since.
            namespace.open(self.volumes.as_ref());
        }
        namespace.volume.as_ref().ok_or(Status::NAMESPACE_NOT_READY)
    }

    /// Looks at the facts of a volume again, which may have grown.
    pub(crate) fn reread(&mut self, id: u32) -> Result<&OpenVolume, Status> {
        let index = self.index(id)?;
        self.list[index].open(self.volumes.as_ref());
        self.opened(index)
    }

    /// All volumes that the host sees, for what concerns all of them; a failure where one of them cannot be reached from here.
    pub(crate) fn all_volumes(&self) -> Result<Vec<Rc<dyn Volume>>, Status> {
        let ids = self.list.iter().map(|namespace| namespace.info().id);
        ids.map(|id| self.volumes.volume(id).ok_or(Status::NAMESPACE_NOT_READY)).collect()
    }
}

/// Whether an id stands for all namespaces.
pub(crate) fn is_every(id: u32) -> bool {
    id == EVERY_NAMESPACE
}

/// The ids of the namespaces that are not as they were, in order, and whether one of them has changed its ANA group.
pub(crate) fn differences(before: &[Namespace], after: &[Namespace]) -> (Vec<u32>, bool) {
    let find = |list: &[Namespace], id| list.binary_search_by_key(&id, Namespace::id).ok();
    let mut changed: Vec<u32> = Vec::new();
    let mut moved = false;
    for old in before {
        match find(after, old.id()).map(|index| after[index].facts()) {
            Some(facts) if facts == old.facts() => {}
            Some(facts) => {
                moved |= facts.0 == old.facts().0 && facts.3 != old.facts().3;
                changed.push(old.id());
            }
            None => changed.push(old.id()),
        }
    }
    changed.extend(after.iter().map(Namespace::id).filter(|&id| find(before, id).is_none()));
    changed.sort_unstable();
    (changed, moved)
}
