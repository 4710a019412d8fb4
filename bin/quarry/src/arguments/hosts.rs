//! What can be typed about hosts and host groups.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use quarry_api_types::{InitiatorName, Name, Network};

#[derive(Subcommand, Debug)]
pub enum HostCommand {
    /// Make a host: who its initiators are, where they come from, and what they must prove
    #[command(override_usage = "quarry host create [OPTIONS] <NAME> --initiator <NAME>...")]
    #[command(after_help = "Examples:\n  \
        quarry host create web --initiator iqn.1993-08.org.debian:01:3f5b2a\n  \
        quarry host create db --initiator nqn.2014-08.org.nvmexpress:uuid:9f0c6d3e-3a5b-4c7d-8e9f-001122334455 \\\n    \
        --network 10.1.0.0/16\n  \
        quarry host create esx --initiator iqn.1998-01.com.vmware:esx01 --chap-user esx --chap-secret-file secret")]
    Create(CreateHost),
    /// List hosts
    #[command(after_help = "Example:\n  quarry -o wide host list")]
    List,
    /// Show a host; its secrets are never shown
    #[command(after_help = "Example:\n  quarry host show web")]
    Show { name: Name },
    /// Give a host other initiators, networks or proofs: all that is asked for, or nothing
    #[command(override_usage = "quarry host update <NAME> [OPTIONS]")]
    #[command(after_help = "Example:\n  quarry host update web --add-network 10.1.0.0/16 --no-chap")]
    Update(UpdateHost),
    /// End a host that no export names; it leaves its groups
    #[command(after_help = "Example:\n  quarry host delete web")]
    Delete { name: Name },
    /// Host groups: hosts that see the same volumes
    #[command(subcommand)]
    Group(HostGroupCommand),
}

#[derive(Args, Debug)]
pub struct CreateHost {
    /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
    pub name: Name,
    /// How an initiator of it names itself: iqn., eui. or naa. for iSCSI, nqn. for NVMe; can be repeated
    #[arg(long = "initiator", value_name = "NAME", num_args = 1.., required_unless_present = "networks")]
    pub initiators: Vec<InitiatorName>,
    /// Where its connections come from, an address or a range such as 10.1.0.0/16; can be repeated [default: anywhere]
    #[arg(long = "network", value_name = "CIDR", num_args = 1..)]
    pub networks: Vec<Network>,
    #[command(flatten)]
    pub chap: ChapOptions,
}

#[derive(Args, Debug)]
pub struct UpdateHost {
    pub name: Name,
    /// An initiator that it gets; can be repeated
    #[arg(long = "add-initiator", value_name = "NAME", num_args = 1..)]
    pub add_initiators: Vec<InitiatorName>,
    /// An initiator that it loses; can be repeated
    #[arg(long = "remove-initiator", value_name = "NAME", num_args = 1..)]
    pub remove_initiators: Vec<InitiatorName>,
    /// A network that it gets; can be repeated
    #[arg(long = "add-network", value_name = "CIDR", num_args = 1..)]
    pub add_networks: Vec<Network>,
    /// A network that it loses; can be repeated
    #[arg(long = "remove-network", value_name = "CIDR", num_args = 1..)]
    pub remove_networks: Vec<Network>,
    #[command(flatten)]
    pub chap: ChapOptions,
    /// It need not prove anything any more
    #[arg(long, conflicts_with = "chap_user")]
    pub no_chap: bool,
}

/// What is proved at an iSCSI login. The secrets go to another machine over https only.
#[derive(Args, Debug)]
pub struct ChapOptions {
    /// The name by which it proves itself at an iSCSI login
    #[arg(long, value_name = "USER", requires = "chap_secret_file")]
    pub chap_user: Option<String>,
    /// File with the secret behind it, 12 to 128 characters of printable ASCII; '-' for a line of standard input
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    pub chap_secret_file: Option<PathBuf>,
    /// The name by which the node proves itself in return
    #[arg(long, value_name = "USER", requires = "mutual_secret_file", requires = "chap_user")]
    pub mutual_user: Option<String>,
    /// File with the secret behind that, another one; '-' for a line of standard input
    #[arg(long, value_name = "FILE", requires = "mutual_user")]
    pub mutual_secret_file: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
pub enum HostGroupCommand {
    /// Make a host group, of hosts or empty
    #[command(after_help = "Example:\n  quarry host group create esx esx01 esx02 esx03")]
    Create {
        /// Its name: 1 to 63 letters, digits, '.', '_' or '-'
        name: Name,
        /// Its hosts
        #[arg(value_name = "HOST")]
        hosts: Vec<Name>,
    },
    /// List host groups
    #[command(after_help = "Example:\n  quarry host group list")]
    List,
    /// Show a host group with its hosts
    #[command(after_help = "Example:\n  quarry host group show esx")]
    Show { name: Name },
    /// Add hosts to a group; they see at once what is exported to it
    #[command(after_help = "Example:\n  quarry host group add esx esx04")]
    Add {
        name: Name,
        #[arg(value_name = "HOST", required = true)]
        hosts: Vec<Name>,
    },
    /// Take hosts out of a group; they see at once no more what is exported to it
    #[command(after_help = "Example:\n  quarry host group remove esx esx01")]
    Remove {
        name: Name,
        #[arg(value_name = "HOST", required = true)]
        hosts: Vec<Name>,
    },
    /// End a host group that no export names; its hosts stay
    #[command(after_help = "Example:\n  quarry host group delete esx")]
    Delete { name: Name },
}
