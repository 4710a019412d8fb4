//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use quarry_types::ByteSize;

use crate::log_lines::LogFormat;

/// Quarry's node daemon: serves the volumes of its pools over NBD, iSCSI, NVMe/TCP and vhost-user, and a REST API to manage them.
///
/// Everything listens on loopback unless an address says otherwise. Without --nbd and --nbd-unix, NBD is served on
/// 127.0.0.1:10809; iSCSI and NVMe/TCP are served where an address is given. A value on
/// the command line wins over the same one in the environment (QUARRYD_CORES for --cores, with commas between several), that over the
/// configuration file.
#[derive(clap::Parser, Debug, Default)]
#[command(
    version,
    after_help = "Examples:\n  \
    quarryd --data-dir /var/lib/quarry\n  \
    quarryd --data-dir /var/lib/quarry --nbd 0.0.0.0:10809 --nbd-unix /run/quarry/nbd.sock --cores 4 --memory 8GiB\n\n\
    QUARRY_LOG sets the log level: error, warn, info (default), debug.\n\
    SIGTERM and SIGINT stop the node in order: requests end, a checkpoint is written, devices are closed.",
    args_conflicts_with_subcommands = true
)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Directory of the node's catalog; made if it is not there
    #[arg(long, value_name = "DIR", env = "QUARRYD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the REST API [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", env = "QUARRYD_API")]
    pub api: Option<String>,
    /// Certificate of the API in PEM form, with those that lead to its authority behind it [default: one of the node's own authority]
    #[arg(long, value_name = "FILE", requires = "api_key", env = "QUARRYD_API_CERT")]
    pub api_cert: Option<PathBuf>,
    /// Its key in PEM form
    #[arg(long, value_name = "FILE", requires = "api_cert", env = "QUARRYD_API_KEY")]
    pub api_key: Option<PathBuf>,
    /// Name or address by which clients ask for the API, for the certificate that the node makes; can be repeated
    #[arg(long = "api-name", value_name = "NAME", env = "QUARRYD_API_NAMES", value_delimiter = ',')]
    pub api_names: Vec<String>,
    /// Anybody may read /metrics, without a token
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", env = "QUARRYD_METRICS_OPEN")]
    pub metrics_open: Option<bool>,
    /// So many volumes have series of their own in /metrics; the others are in those of their pool [default: 200]
    #[arg(long, value_name = "N", env = "QUARRYD_METRICS_VOLUMES")]
    pub metrics_volumes: Option<usize>,
    /// Requests of hosts that take so many milliseconds are told of as slow; 0 for none [default: 1000]
    #[arg(long, value_name = "MS", env = "QUARRYD_SLOW_REQUEST_MS")]
    pub slow_request_ms: Option<u64>,
    /// Somebody is told of a pool or quota that is expected to be full within so many days; 0 for nobody [default: 7]
    #[arg(long, value_name = "DAYS", env = "QUARRYD_FORECAST_DAYS")]
    pub forecast_days: Option<u32>,
    /// How lines of the log look [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", env = "QUARRYD_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// TCP address for NBD [default: 127.0.0.1:10809, unless --nbd-unix is given]
    #[arg(long, value_name = "ADDR", env = "QUARRYD_NBD")]
    pub nbd: Option<String>,
    /// Path of a unix socket for NBD
    #[arg(long, value_name = "PATH", env = "QUARRYD_NBD_UNIX")]
    pub nbd_unix: Option<PathBuf>,
    /// Certificate of NBD in PEM form, with those that lead to its authority behind it; connections over TCP must then be encrypted
    #[arg(long, value_name = "FILE", requires = "nbd_tls_key", env = "QUARRYD_NBD_TLS_CERT")]
    pub nbd_tls_cert: Option<PathBuf>,
    /// Its key in PEM form
    #[arg(long, value_name = "FILE", requires = "nbd_tls_cert", env = "QUARRYD_NBD_TLS_KEY")]
    pub nbd_tls_key: Option<PathBuf>,
    /// Authorities in PEM form; NBD clients must then have a certificate of one of them
    #[arg(long, value_name = "FILE", requires = "nbd_tls_cert", env = "QUARRYD_NBD_TLS_CLIENT_CA")]
    pub nbd_tls_client_ca: Option<PathBuf>,
    /// Address for iSCSI, for example 0.0.0.0:3260; can be repeated
    #[arg(long, value_name = "ADDR", env = "QUARRYD_ISCSI", value_delimiter = ',')]
    pub iscsi: Vec<String>,
    /// Address for NVMe/TCP, for example 0.0.0.0:4420; can be repeated
    #[arg(long, value_name = "ADDR", env = "QUARRYD_NVME_TCP", value_delimiter = ',')]
    pub nvme_tcp: Vec<String>,
    /// Folder for the sockets of exports over vhost-user [default: vhost-user in the data directory]
    #[arg(long, value_name = "DIR", env = "QUARRYD_VHOST_USER")]
    pub vhost_user: Option<PathBuf>,
    /// Address, without a port, that hosts are told to connect to in place of the one that is listened on, for example behind a
    /// translation of addresses; can be repeated
    #[arg(long, value_name = "ADDR", env = "QUARRYD_ADVERTISE", value_delimiter = ',')]
    pub advertise: Vec<IpAddr>,
    /// Threads of the data plane [default: one per CPU]
    #[arg(long, value_name = "N", env = "QUARRYD_CORES")]
    pub cores: Option<usize>,
    /// Memory for maps, buffers and caches, for example 4GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE", env = "QUARRYD_MEMORY")]
    pub memory: Option<ByteSize>,
    /// Of that memory, what data may take that is read again; 0 for none [default: an eighth of it]
    #[arg(long, value_name = "SIZE", env = "QUARRYD_READ_CACHE")]
    pub read_cache: Option<ByteSize>,
    /// A fast disk, or a file on one, that keeps what is read again from spinning disks and buckets, also over restarts; a 16th of the
    /// memory is for what lies where on it
    #[arg(long, value_name = "PATH", env = "QUARRYD_CACHE_DISK")]
    pub cache_disk: Option<PathBuf>,
    /// Days after which a pool is scrubbed again; 0 for never [default: 30]
    #[arg(long, value_name = "DAYS", env = "QUARRYD_SCRUB_DAYS")]
    pub scrub_days: Option<u32>,
    /// What a scrub reads each second at most, every copy counted [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "QUARRYD_SCRUB_RATE")]
    pub scrub_rate: Option<ByteSize>,
    /// Seconds that a device may take for anything before it is taken out of use, if nothing is on it alone; behind a network 10 more [default: 15]
    #[arg(long, value_name = "SECONDS", env = "QUARRYD_DEVICE_TIMEOUT")]
    pub device_timeout: Option<u64>,
    /// File with the passphrase of the keyring, which encrypted volumes need [default: systemd's credential 'quarry-keyring']
    #[arg(long, value_name = "FILE", env = "QUARRYD_KEYRING_PASSPHRASE_FILE")]
    pub keyring_passphrase_file: Option<PathBuf>,
    /// Configuration file: the same names with _ for -; lists for what can be repeated, and api_names for --api-name
    #[arg(long, value_name = "FILE.toml", env = "QUARRYD_CONFIG")]
    pub config: Option<PathBuf>,
}

/// What quarryd does instead of serving.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Verify the pools of a node that is stopped, and end
    ///
    /// Opens every pool as quarryd does, which finishes what a crash has left. Then it compares the segment tables with the
    /// maps of all volumes and snapshots, counts every slot, and reads every copy of everything that lives against its
    /// checksum; a bad copy is written again from a good one. Ends with 0 when nothing was found, 1 when something was, 2 when it
    /// could not look.
    Check(Check),
    /// Tell what is wrong with a configuration file, and where, or what a node would be started with, and end
    ///
    /// Ends with 2 when something is wrong. Certificates are read and names of hosts are looked up; nothing is opened and nothing
    /// listens.
    #[command(after_help = "Example:\n  quarryd check-config --config /etc/quarry/quarryd.toml")]
    CheckConfig(CheckConfig),
    /// Write the manual pages of quarryd into a folder, and end
    #[command(after_help = "Example:\n  quarryd man /usr/local/share/man/man8")]
    Man {
        /// The folder; made if it is not there
        folder: PathBuf,
    },
    /// Tell whether a database in the data directory is whole, and end; quarryd asks itself so before it opens it
    #[command(hide = true)]
    LookAtDatabase {
        /// The database
        file: PathBuf,
    },
    /// Change the keyring of a node that is stopped, and end
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Write a new token that may do everything into the data directory of a node that is stopped, and end
    ///
    /// For a node whose admins have lost their tokens and passwords. Other tokens and all users stay what they are.
    NewAdminToken(NewAdminToken),
}

/// Where packages put the configuration.
pub const CONFIG_DEFAULT: &str = "/etc/quarry/quarryd.toml";

#[derive(clap::Args, Debug)]
pub struct CheckConfig {
    /// The configuration file
    #[arg(long, value_name = "FILE.toml", env = "QUARRYD_CONFIG", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
}

#[derive(clap::Args, Debug)]
pub struct NewAdminToken {
    /// Directory of the node's catalog
    #[arg(long, value_name = "DIR", env = "QUARRYD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// The configuration file that quarryd is started with
    #[arg(long, value_name = "FILE.toml", env = "QUARRYD_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(clap::Subcommand, Debug)]
pub enum KeyringCommand {
    /// Put the keyring under another passphrase; its keys, and so all volumes, stay what they are
    ///
    /// The new keyring takes the place of the old one at once: whenever this is cut off, one of the two passphrases opens it.
    #[command(
        after_help = "Example:\n  quarryd keyring change-passphrase --data-dir /var/lib/quarry \\\n    \
        --passphrase-file /etc/quarry/passphrase --new-passphrase-file /etc/quarry/passphrase.new"
    )]
    ChangePassphrase(ChangePassphrase),
}

#[derive(clap::Args, Debug)]
pub struct ChangePassphrase {
    /// Directory of the node's catalog
    #[arg(long, value_name = "DIR", env = "QUARRYD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// File with the passphrase that the keyring has [default: as quarryd is started]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// File with the passphrase that it gets
    #[arg(long, value_name = "FILE")]
    pub new_passphrase_file: PathBuf,
    /// The configuration file that quarryd is started with
    #[arg(long, value_name = "FILE.toml", env = "QUARRYD_CONFIG")]
    pub config: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
pub struct Check {
    /// Directory of the node's catalog
    #[arg(long, value_name = "DIR", env = "QUARRYD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Threads to use [default: one per CPU]
    #[arg(long, value_name = "N", env = "QUARRYD_CORES")]
    pub cores: Option<usize>,
    /// Memory to use [default: 1GiB]
    #[arg(long, value_name = "SIZE", env = "QUARRYD_MEMORY")]
    pub memory: Option<ByteSize>,
    /// The configuration file that quarryd is started with
    #[arg(long, value_name = "FILE.toml", env = "QUARRYD_CONFIG")]
    pub config: Option<PathBuf>,
}

impl From<NewAdminToken> for Arguments {
    fn from(new: NewAdminToken) -> Self {
        let NewAdminToken { data_dir, config } = new;
        Self { data_dir, config, ..Self::default() }
    }
}

impl From<Check> for Arguments {
    fn from(check: Check) -> Self {
        let Check { data_dir, cores, memory, config } = check;
        Self { data_dir, cores, memory, config, ..Self::default() }
    }
}

impl From<ChangePassphrase> for Arguments {
    fn from(change: ChangePassphrase) -> Self {
        let ChangePassphrase { data_dir, passphrase_file, new_passphrase_file: _, config } = change;
        Self { data_dir, keyring_passphrase_file: passphrase_file, config, ..Self::default() }
    }
}
