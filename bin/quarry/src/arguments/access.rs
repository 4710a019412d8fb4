//! What can be typed about users, tokens, tenants and the audit log.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::{AuditKind, Name, Role};

use super::{QosOptions, word};
use crate::values::{Bound, Life, PoolGrant};

#[derive(Args, Debug)]
pub struct Login {
    /// Name of the user
    pub user: Name,
    /// File with the password [default: a line of standard input; a terminal is asked for it]
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum UserCommand {
    /// Make a user
    #[command(after_help = "Examples:\n  quarry user create ann --role operator\n  \
        quarry user create acme.bob --role tenant-admin --tenant acme --password-file secret")]
    Create {
        /// Its name; that of a tenant's user begins with the name of the tenant and a dot
        name: Name,
        /// What it may do
        #[arg(long, value_parser = word(Role::ALL, Role::as_str))]
        role: Role,
        /// The tenant that it belongs to, for the roles of tenants
        #[arg(long)]
        tenant: Option<Name>,
        /// File with its password, 10 to 256 characters [default: a line of standard input; a terminal is asked for it]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// List users
    #[command(after_help = "Example:\n  quarry user list")]
    List,
    /// Show a user
    #[command(after_help = "Example:\n  quarry user show ann")]
    Show { name: Name },
    /// Give a user another password; what it has logged in to is logged out
    #[command(after_help = "Example:\n  quarry user set-password ann --password-file secret")]
    SetPassword {
        name: Name,
        /// File with the new password, 10 to 256 characters [default: a line of standard input; a terminal is asked for it]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// File with the present one; needed by somebody who does not manage users
        #[arg(long, value_name = "FILE")]
        old_password_file: Option<PathBuf>,
    },
    /// End a user and every token that stands for it
    #[command(after_help = "Example:\n  quarry user delete ann")]
    Delete { name: Name },
}

#[derive(Subcommand, Debug)]
pub enum TokenCommand {
    /// Make a token that stands for you, and print its text, which is never shown again
    #[command(
        after_help = "Examples:\n  quarry token create --role auditor --purpose prometheus > prometheus.token\n  \
        quarry token create --role tenant-admin --tenant acme --life 90d --purpose terraform"
    )]
    Create {
        /// What it may do [default: what you may]
        #[arg(long, value_parser = word(Role::ALL, Role::as_str))]
        role: Option<Role>,
        /// The tenant to which it is confined [default: yours]
        #[arg(long)]
        tenant: Option<Name>,
        /// What it is for
        #[arg(long, value_name = "TEXT", default_value = "")]
        purpose: String,
        /// How long it lives, for example 12h or 90d [default: until it is revoked]
        #[arg(long, value_name = "TIME")]
        life: Option<Life>,
    },
    /// List tokens: yours, and those that you look after
    #[command(after_help = "Example:\n  quarry token list --user ann")]
    List {
        /// Those of this user only
        #[arg(long)]
        user: Option<Name>,
    },
    /// End a token
    #[command(after_help = "Example:\n  quarry token revoke 3f5b2a")]
    Revoke {
        /// Its id, as `quarry token list` shows it
        id: String,
    },
}

#[derive(Subcommand, Debug)]
pub enum TenantCommand {
    /// Make a tenant; to it belongs what has a name that begins with its name and a dot
    #[command(
        after_help = "Example:\n  quarry tenant create acme --pool fast --capacity 10TiB --volumes 100"
    )]
    Create {
        /// Its name, without a dot
        name: Name,
        #[command(flatten)]
        bounds: Box<TenantBounds>,
    },
    /// List tenants
    #[command(after_help = "Example:\n  quarry tenant list")]
    List,
    /// Show a tenant with its bounds and what it uses
    #[command(after_help = "Example:\n  quarry tenant show acme")]
    Show { name: Name },
    /// Give a tenant other pools, policies or bounds
    #[command(
        after_help = "Example:\n  quarry tenant set acme --pool fast=2TiB big --policy gold silver --capacity none"
    )]
    Set {
        name: Name,
        #[command(flatten)]
        bounds: Box<TenantBounds>,
        /// It may make volumes in no pool any more; those that it has stay
        #[arg(long, conflicts_with = "pools")]
        no_pools: bool,
        /// It may attach no policy of the node any more; what is attached stays
        #[arg(long, conflicts_with = "policies")]
        no_policies: bool,
    },
    /// End a tenant that has nothing any more
    #[command(after_help = "Example:\n  quarry tenant delete acme")]
    Delete { name: Name },
}

#[derive(Args, Debug)]
pub struct TenantBounds {
    /// The pools in which it may make volumes, all of them; each with the most that its volumes there together may be large, if there
    /// is such a bound; can be repeated
    #[arg(long = "pool", value_name = "POOL[=SIZE]", num_args = 1..)]
    pub pools: Vec<PoolGrant>,
    /// The policies of the node that it sees and may attach, all of them; can be repeated
    #[arg(long = "policy", value_name = "POLICY", num_args = 1..)]
    pub policies: Vec<Name>,
    /// The most that its volumes together may be large, for example 10TiB, or none
    #[arg(long, value_name = "SIZE")]
    pub capacity: Option<Bound>,
    /// The most volumes that it may have; 0 for any number
    #[arg(long, value_name = "N")]
    pub volumes: Option<u32>,
    #[command(flatten)]
    pub qos: QosOptions,
}

#[derive(Subcommand, Debug)]
pub enum AuditCommand {
    /// List entries, the oldest first
    #[command(after_help = "Example:\n  quarry audit list --kind refused --user acme.bob")]
    List(AuditSelection),
    /// Look at every entry: whether it is what was written, in its place, and whether all are there
    ///
    /// The last number and hash are printed. Who keeps them elsewhere finds out later, with --number and --hash, whether the log was
    /// written anew meanwhile. Ends with 1 when something is wrong.
    #[command(after_help = "Example:\n  quarry audit verify")]
    Verify {
        /// Number of an entry whose hash was kept elsewhere
        #[arg(long, value_name = "N", requires = "hash")]
        number: Option<u64>,
        /// The hash that it had
        #[arg(long, value_name = "HASH", requires = "number")]
        hash: Option<String>,
    },
    /// Print entries as JSON, one a line, with their hashes
    #[command(after_help = "Example:\n  quarry audit export > audit.jsonl")]
    Export(AuditSelection),
}

#[derive(Args, Debug)]
pub struct AuditSelection {
    /// Only those behind the one with this number
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub since: u64,
    /// Only those of this user
    #[arg(long)]
    pub user: Option<Name>,
    /// Only those of this kind
    #[arg(long, value_parser = word(AuditKind::ALL, AuditKind::as_str))]
    pub kind: Option<AuditKind>,
}
