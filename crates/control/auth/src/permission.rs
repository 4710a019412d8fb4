//! What can be permitted.

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What an operation needs. The words are the actions of `roles.cedarschema`.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Permission {
            $($(#[$doc])* $name,)+
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name of the action.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

permissions! {
    /// Look at the node: status, health with its causes, events.
    ReadNode = "read-node",
    /// Look at the figures for Prometheus.
    ReadMetrics = "read-metrics",
    /// Look at devices.
    ReadDevices = "read-devices",
    /// Scan devices, and change which a pool has.
    ChangeDevices = "change-devices",
    /// Look at pools.
    ReadPools = "read-pools",
    /// Make, change and end pools.
    ChangePools = "change-pools",
    /// Look at volumes.
    ReadVolumes = "read-volumes",
    /// Make, change and destroy volumes.
    ChangeVolumes = "change-volumes",
    /// Look at snapshots.
    ReadSnapshots = "read-snapshots",
    /// Take, change and delete snapshots.
    ChangeSnapshots = "change-snapshots",
    /// Look at consistency groups.
    ReadGroups = "read-groups",
    /// Make, change, roll back and end consistency groups.
    ChangeGroups = "change-groups",
    /// Look at policies.
    ReadPolicies = "read-policies",
    /// Make, change and delete policies.
    ChangePolicies = "change-policies",
    /// Look at exports.
    ReadExports = "read-exports",
    /// Serve volumes, and cease to.
    ChangeExports = "change-exports",
    /// Look at hosts and host groups.
    ReadHosts = "read-hosts",
    /// Make, change and end hosts and host groups.
    ChangeHosts = "change-hosts",
    /// Look at the keyring.
    ReadKeyring = "read-keyring",
    /// Unlock the keyring.
    ChangeKeyring = "change-keyring",
    /// Look at users.
    ReadUsers = "read-users",
    /// Make and end users, and give them passwords.
    ChangeUsers = "change-users",
    /// Look at the tokens of others.
    ReadTokens = "read-tokens",
    /// Revoke the tokens of others, and make ones that may less.
    ChangeTokens = "change-tokens",
    /// Look at tenants.
    ReadTenants = "read-tenants",
    /// Make, change and end tenants.
    ChangeTenants = "change-tenants",
    /// Look at the audit log and verify it.
    ReadAudit = "read-audit",
    /// See who one is, log out, change the own password, make and revoke own tokens.
    UseSession = "use-session",
}
