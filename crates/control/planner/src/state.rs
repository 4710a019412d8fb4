//! A document of intended state against what is there: what is to be done, and what cannot be done.
//!
//! Things are known by their names. What the document does not name is left alone, so nothing is ever deleted in this way; what
//! would lose data (a smaller volume, another pool, a device less) is a problem and no step.

mod exports;
mod hosts;
mod pools;
mod present;
mod volumes;

use std::fmt;

use quarry_api_types::{
    AddDevice, AttachPolicy, ChangeGroup, ChangeHost, ChangeHostGroup, ChangePolicy, ChangePool,
    ChangeVolume, CreateExport, CreateGroup, CreateHost, CreateHostGroup, CreatePolicy, CreatePool,
    CreateVolume, Name, ResizeVolume, State, StatePlan, StatedAction, StatedChange, StatedKind, StatedPlace,
    StatedProblem,
};

pub use present::Present;

/// One thing to do: a call of the node. Doing it when it is done already changes nothing, or is refused and planned anew.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is the request of that name")]
pub enum StateStep {
    CreatePool(CreatePool),
    ChangePool(Name, ChangePool),
    AddDevice(Name, AddDevice),
    CreatePolicy(CreatePolicy),
    ChangePolicy(Name, ChangePolicy),
    CreateVolume(CreateVolume),
    ResizeVolume(Name, ResizeVolume),
    ChangeVolume(Name, ChangeVolume),
    AttachVolumePolicy(Name, AttachPolicy),
    CreateGroup(CreateGroup),
    ChangeGroup(Name, ChangeGroup),
    AttachGroupPolicy(Name, AttachPolicy),
    CreateHost(CreateHost),
    ChangeHost(Name, ChangeHost),
    CreateHostGroup(CreateHostGroup),
    ChangeHostGroup(Name, ChangeHostGroup),
    CreateExport(CreateExport),
}

impl StateStep {
    /// The operation of the API that does the same, and the name of what it does it to.
    pub fn named(&self) -> (&'static str, String) {
        match self {
            Self::CreatePool(request) => ("create_pool", request.name.to_string()),
            Self::ChangePool(name, _) => ("change_pool", name.to_string()),
            Self::AddDevice(name, _) => ("add_device", name.to_string()),
            Self::CreatePolicy(request) => ("create_policy", request.name.to_string()),
            Self::ChangePolicy(name, _) => ("change_policy", name.to_string()),
            Self::CreateVolume(request) => ("create_volume", request.name.to_string()),
            Self::ResizeVolume(name, _) => ("resize_volume", name.to_string()),
            Self::ChangeVolume(name, _) => ("change_volume", name.to_string()),
            Self::AttachVolumePolicy(name, _) => ("attach_volume_policy", name.to_string()),
            Self::CreateGroup(request) => ("create_group", request.name.to_string()),
            Self::ChangeGroup(name, _) => ("change_group", name.to_string()),
            Self::AttachGroupPolicy(name, _) => ("attach_group_policy", name.to_string()),
            Self::CreateHost(request) => ("create_host", request.name.to_string()),
            Self::ChangeHost(name, _) => ("change_host", name.to_string()),
            Self::CreateHostGroup(request) => ("create_host_group", request.name.to_string()),
            Self::ChangeHostGroup(name, _) => ("change_host_group", name.to_string()),
            Self::CreateExport(request) => ("create_export", request.path().to_string()),
        }
    }
}

impl fmt::Display for StateStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreatePool(request) => write!(f, "create pool {}", request.name),
            Self::ChangePool(name, _) => write!(f, "change pool {name}"),
            Self::AddDevice(name, request) => write!(f, "add {} to pool {name}", request.path),
            Self::CreatePolicy(request) => write!(f, "create policy {}", request.name),
            Self::ChangePolicy(name, _) => write!(f, "change policy {name}"),
            Self::CreateVolume(request) => write!(f, "create volume {}", request.name),
            Self::ResizeVolume(name, _) => write!(f, "resize volume {name}"),
            Self::ChangeVolume(name, _) => write!(f, "change volume {name}"),
            Self::AttachVolumePolicy(name, _) => write!(f, "set the policy of volume {name}"),
            Self::CreateGroup(request) => write!(f, "create group {}", request.name),
            Self::ChangeGroup(name, _) => write!(f, "change group {name}"),
            Self::AttachGroupPolicy(name, _) => write!(f, "set the policy of group {name}"),
            Self::CreateHost(request) => write!(f, "create host {}", request.name),
            Self::ChangeHost(name, _) => write!(f, "change host {name}"),
            Self::CreateHostGroup(request) => write!(f, "create host group {}", request.name),
            Self::ChangeHostGroup(name, _) => write!(f, "change host group {name}"),
            Self::CreateExport(request) => write!(f, "export {} over {}", request.path(), request.protocol),
        }
    }
}

/// What is to be done so that a document holds, and what it comes to for people.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StateSteps {
    /// The steps, in the order in which to do them.
    pub steps: Vec<StateStep>,
    /// What they change, and why the document cannot be made so.
    pub plan: StatePlan,
}

/// Plans.
pub fn plan_state(wanted: &State, present: &Present) -> StateSteps {
    let mut planner = Planner { wanted, present, out: StateSteps::default() };
    planner.pools();
    planner.hosts();
    planner.host_groups();
    planner.policies();
    planner.volumes();
    planner.groups();
    planner.exports();
    planner.out
}

struct Planner<'a> {
    wanted: &'a State,
    present: &'a Present,
    out: StateSteps,
}

/// One thing under consideration: its place, and what would change.
struct Thing {
    place: StatedPlace,
    action: StatedAction,
    what: Vec<String>,
}

impl Thing {
    fn new(kind: StatedKind, index: usize, name: impl fmt::Display, action: StatedAction) -> Self {
        let place = StatedPlace { kind, index, name: name.to_string(), field: None };
        Self { place, action, what: Vec::new() }
    }

    /// What a field is and is to be, for people.
    fn differs(&mut self, field: &str, from: impl fmt::Display, to: impl fmt::Display) {
        self.what.push(format!("{field}: {from} -> {to}"));
    }

    /// The value of a field that is stated and not what it is.
    fn change<T: PartialEq + fmt::Display + Clone>(
        &mut self,
        field: &str,
        is: &T,
        stated: Option<&T>,
    ) -> Option<T> {
        let to = stated.filter(|to| *to != is)?;
        self.differs(field, is, to);
        Some(to.clone())
    }

    fn problem(&self, field: Option<&str>, message: impl Into<String>, is_conflict: bool) -> StatedProblem {
        let place = StatedPlace { field: field.map(str::to_owned), ..self.place.clone() };
        StatedProblem { place, message: message.into(), is_conflict }
    }
}

impl Planner<'_> {
    /// Takes note of what steps come to.
    fn done_with(&mut self, thing: Thing) {
        if !thing.what.is_empty() || thing.action == StatedAction::Create {
            let Thing { place, action, what } = thing;
            self.out.plan.changes.push(StatedChange { place, action, what });
        }
    }

    /// Refuses a field.
    fn refuse(&mut self, thing: &Thing, field: &str, message: impl Into<String>) {
        self.out.plan.problems.push(thing.problem(Some(field), message, false));
    }

    /// Whether a thing may be changed: it is what it was when the document was made, or nothing is said of that.
    fn check_version(&mut self, thing: &Thing, stated: Option<&String>, is: Option<String>) {
        let (Some(stated), false) = (stated, thing.what.is_empty() && thing.action == StatedAction::Change)
        else {
            return;
        };
        let message = match is {
            Some(is) if is == *stated => return,
            Some(is) => format!(
                "it has changed since the document was made (version {stated}, now {is}); it differs in {}",
                thing.what.join("; ")
            ),
            None => format!("it was deleted since the document was made (version {stated})"),
        };
        self.out.plan.problems.push(thing.problem(None, message, true));
    }

    fn push(&mut self, step: StateStep) {
        self.out.steps.push(step);
    }
}

/// What is in the one and not in the other.
fn without<T: PartialEq + Clone>(all: &[T], without: &[T]) -> Vec<T> {
    all.iter().filter(|one| !without.contains(one)).cloned().collect()
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
