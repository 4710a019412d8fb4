//! Hosts: who may ask for a volume, as their initiators name themselves.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::request::check_list;
use crate::{Chap, ChapUser, HostId, InitiatorName, InvalidRequest, Name, Network, Timestamp};

/// Most initiators of a host.
pub const HOST_INITIATORS_MAX: usize = 64;
/// Most networks of a host.
pub const HOST_NETWORKS_MAX: usize = 64;

/// A host as it is now. Its secrets are never shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// Its id, for ever.
    pub id: HostId,
    /// Its name, unique among the hosts of the node.
    pub name: Name,
    /// How its initiators name themselves. One name belongs to one host at most.
    pub initiators: Vec<InitiatorName>,
    /// Where its connections come from; empty for anywhere. A host without initiators is known by its networks alone.
    pub networks: Vec<Network>,
    /// What it must prove at an iSCSI login. Absent for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<ChapUser>,
    /// The host groups that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Name>,
    /// How many exports name it or one of its groups.
    pub exports: u64,
    /// Its sessions that are logged in now.
    pub sessions: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// A request for a new host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHost {
    /// Its name, unique among the hosts of the node.
    pub name: Name,
    /// How its initiators name themselves.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub initiators: Vec<InitiatorName>,
    /// Where its connections come from; empty for anywhere.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub networks: Vec<Network>,
    /// What it must prove at an iSCSI login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<Chap>,
}

impl CreateHost {
    /// Checks all that can be judged without knowing the other hosts.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_list("initiators", &self.initiators, HOST_INITIATORS_MAX)?;
        check_list("networks", &self.networks, HOST_NETWORKS_MAX)?;
        check_somebody(&self.initiators, &self.networks)?;
        self.chap.as_ref().map_or(Ok(()), Chap::check)
    }
}

/// Fails when no connection could be a host's.
pub fn check_somebody(initiators: &[InitiatorName], networks: &[Network]) -> Result<(), InvalidRequest> {
    match initiators.is_empty() && networks.is_empty() {
        true => {
            Err(InvalidRequest::contradiction("initiators", "a host has an initiator or a network at least"))
        }
        false => Ok(()),
    }
}

/// A request for other initiators, networks or proofs of a host; all of it happens, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeHost {
    /// Initiators that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub add_initiators: Vec<InitiatorName>,
    /// Initiators of it that it loses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub remove_initiators: Vec<InitiatorName>,
    /// Networks that it gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub add_networks: Vec<Network>,
    /// Networks of it that it loses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub remove_networks: Vec<Network>,
    /// What it must prove from the next login on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chap: Option<Chap>,
    /// It need not prove anything any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove_chap: bool,
}

impl ChangeHost {
    /// Checks all that can be judged without knowing the hosts.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            let message = "nothing to change: give initiators, networks, or what is to be proved";
            return Err(InvalidRequest::contradiction("add_initiators", message));
        }
        check_list("add_initiators", &self.add_initiators, HOST_INITIATORS_MAX)?;
        check_list("remove_initiators", &self.remove_initiators, HOST_INITIATORS_MAX)?;
        check_list("add_networks", &self.add_networks, HOST_NETWORKS_MAX)?;
        check_list("remove_networks", &self.remove_networks, HOST_NETWORKS_MAX)?;
        check_apart("add_initiators", &self.add_initiators, &self.remove_initiators)?;
        check_apart("add_networks", &self.add_networks, &self.remove_networks)?;
        if self.remove_chap && self.chap.is_some() {
            return Err(InvalidRequest::contradiction("remove_chap", "it contradicts chap"));
        }
        self.chap.as_ref().map_or(Ok(()), Chap::check)
    }
}

/// Fails when the same thing is to come and to go.
pub(crate) fn check_apart<T: PartialEq + std::fmt::Display>(
    field: &'static str,
    add: &[T],
    remove: &[T],
) -> Result<(), InvalidRequest> {
    match add.iter().find(|item| remove.contains(item)) {
        Some(item) => Err(InvalidRequest::contradiction(field, format!("'{item}' is to be removed as well"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initiators(texts: &[&str]) -> Vec<InitiatorName> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn host(initiators: Vec<InitiatorName>, networks: &[&str]) -> CreateHost {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        CreateHost { name: "web".parse().unwrap(), initiators, networks, chap: None }
    }

    #[test]
    fn a_host_is_somebody_and_has_everything_once() {
        assert_eq!(host(initiators(&["iqn.2001-04.com.example:a"]), &[]).check(), Ok(()));
        assert_eq!(host(vec![], &["10.0.0.0/8"]).check(), Ok(()));
        let many = (0..=64).map(|number| format!("iqn.2001-04.com.example:{number}").parse().unwrap());
        let short = Chap { user: "u".into(), secret: crate::ChapSecret::new("x"), mutual: None };
        for (bad, part) in [
            (host(vec![], &[]), "initiators: a host has an initiator or a network at least"),
            (host(many.collect(), &[]), "initiators: at most 64, not 65"),
            (host(vec![], &["10.0.0.1", "10.0.0.1/32"]), "networks: '10.0.0.1' is given twice"),
            (CreateHost { chap: Some(short), ..host(vec![], &["10.0.0.1"]) }, "chap.secret"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let twice = host(initiators(&["iqn.2001-04.com.example:a", "IQN.2001-04.com.example:A"]), &[]);
        assert!(twice.check().unwrap_err().to_string().contains("is given twice"));
    }

    #[test]
    fn a_change_changes_something_and_does_not_contradict_itself() {
        let name = || initiators(&["nqn.2014-08.com.example:a"]);
        let add = ChangeHost { add_initiators: name(), ..Default::default() };
        assert_eq!(add.check(), Ok(()));
        assert_eq!(
            serde_json::to_string(&add).unwrap(),
            r#"{"add_initiators":["nqn.2014-08.com.example:a"]}"#
        );
        assert_eq!(ChangeHost { remove_chap: true, ..Default::default() }.check(), Ok(()));
        let secret = crate::ChapSecret::new("horse-battery");
        let chap = Some(Chap { user: "u".into(), secret, mutual: None });
        for (bad, part) in [
            (ChangeHost::default(), "nothing to change"),
            (ChangeHost { remove_initiators: name(), ..add }, "is to be removed as well"),
            (ChangeHost { chap, remove_chap: true, ..Default::default() }, "it contradicts chap"),
        ] {
            let error = bad.check().unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
