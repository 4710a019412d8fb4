//! Host groups: hosts that see the same volumes.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::host::check_apart;
use crate::request::check_list;
use crate::{HostGroupId, InvalidRequest, Name, Timestamp};

/// Most hosts of a group.
pub const HOST_GROUP_HOSTS_MAX: usize = 256;

/// A host group as it is now.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct HostGroup {
    /// Its id, for ever.
    pub id: HostGroupId,
    /// Its name, unique among the host groups of the node.
    pub name: Name,
    /// Its hosts, in the order in which they joined. A host may be in several groups.
    pub hosts: Vec<Name>,
    /// How many exports name it.
    pub exports: u64,
    /// When it was made.
    pub created: Timestamp,
}

/// A request for a new host group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateHostGroup {
    /// Its name, unique among the host groups of the node.
    pub name: Name,
    /// Its hosts.
    #[serde(default)]
    #[schema(max_items = 256)]
    pub hosts: Vec<Name>,
}

impl CreateHostGroup {
    /// Checks all that can be judged without knowing the hosts.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        check_list("hosts", &self.hosts, HOST_GROUP_HOSTS_MAX)
    }
}

/// A request for other hosts of a group; all of it happens, or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeHostGroup {
    /// Hosts that join, and see at once what is exported to the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 256)]
    pub add: Vec<Name>,
    /// Hosts of the group that leave it, and see at once no more what is exported to the group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 256)]
    pub remove: Vec<Name>,
}

impl ChangeHostGroup {
    /// Checks all that can be judged without knowing the hosts.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        if *self == Self::default() {
            return Err(InvalidRequest::contradiction(
                "add",
                "nothing to change: give hosts to add or to remove",
            ));
        }
        check_list("add", &self.add, HOST_GROUP_HOSTS_MAX)?;
        check_list("remove", &self.remove, HOST_GROUP_HOSTS_MAX)?;
        check_apart("add", &self.add, &self.remove)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<Name> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_group_has_each_host_once_and_a_change_changes_something() {
        let group = |hosts| CreateHostGroup { name: "farm".parse().unwrap(), hosts };
        assert_eq!(group(vec![]).check(), Ok(()));
        assert!(group(names(&["a", "a"])).check().unwrap_err().to_string().contains("'a' is given twice"));
        let many = (0..=HOST_GROUP_HOSTS_MAX).map(|number| format!("h{number}").parse().unwrap()).collect();
        assert!(group(many).check().unwrap_err().to_string().contains("hosts: at most 256, not 257"));
        let change =
            |add: &[&str], remove: &[&str]| ChangeHostGroup { add: names(add), remove: names(remove) };
        assert_eq!(change(&["a"], &["b"]).check(), Ok(()));
        assert!(change(&[], &[]).check().unwrap_err().to_string().contains("nothing to change"));
        assert!(change(&["a"], &["a"]).check().unwrap_err().to_string().contains("to be removed as well"));
    }
}
