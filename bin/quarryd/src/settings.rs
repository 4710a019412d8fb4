//! What the node was told: the command line over the environment over the configuration file over the defaults.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use quarry_env::Address;
use quarry_tls::ServerTls;
use quarry_types::ByteSize;
use quarry_types::limits::{
    DEVICE_PATIENCE_DEFAULT, DEVICE_PATIENCE_MAX, DEVICE_PATIENCE_MIN, MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN,
};

use crate::arguments::Arguments;
use crate::config_file::{self, Origins};
use crate::cores::Memory;
use crate::log_lines::LogFormat;
use crate::node::passphrase_file;

const API_DEFAULT: &str = "127.0.0.1:7480";
const NBD_DEFAULT: &str = "127.0.0.1:10809";
/// Most threads of the data plane.
const CORES_MAX: usize = 64;
/// A month: bad copies are rare, and two of one block in a month very rare.
const SCRUB_DAYS_DEFAULT: u32 = 30;
/// Such a part of the memory data takes that is read again, unless something else is said.
const READ_CACHE_PART: u64 = 8;
/// Such a part of the memory is for what lies where on a cache disk.
const CACHE_INDEX_PART: u64 = 16;
const SCRUB_RATE_BYTES_DEFAULT: u64 = 64 << 20;
const SCRUB_RATE_BYTES_MIN: u64 = 1 << 20;
/// Some seventy series a volume that hosts read, write and flush.
const METRICS_VOLUMES_DEFAULT: usize = 200;
const METRICS_VOLUMES_MAX: usize = 5000;
const SLOW_REQUEST_MS_DEFAULT: u64 = 1000;
const FORECAST_DAYS_DEFAULT: u32 = 7;
const FORECAST_DAYS_MAX: u32 = 365;

/// Complete and checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub api: SocketAddr,
    /// What the API proves itself with; a certificate of the node's own authority when absent.
    pub api_certificate: Option<CertificateFiles>,
    /// Further names of the node for that certificate.
    pub api_names: Vec<String>,
    /// Whether anybody may read the figures for Prometheus.
    pub metrics_are_open: bool,
    /// The first one is what an export's URI names.
    pub nbd: Vec<Address>,
    /// What NBD over TCP has to be encrypted with.
    pub nbd_tls: Option<ServerTls>,
    pub iscsi: Vec<Address>,
    pub nvme_tcp: Vec<Address>,
    /// Folder of the sockets of exports over vhost-user.
    pub vhost_user: PathBuf,
    /// What hosts are told instead of the addresses that are listened on, if there are some.
    pub advertise: Vec<IpAddr>,
    pub cores: usize,
    pub memory: Memory,
    /// Where what is read again from slow devices is kept.
    pub cache_disk: Option<PathBuf>,
    /// A pool is scrubbed after so many days; 0 for never.
    pub scrub_days: u32,
    /// How long a device may take for anything before it is given up, if it can be done without.
    pub device_patience: Duration,
    /// Bytes that a scrub reads each second at most, every copy counted.
    pub scrub_rate_bytes: u64,
    /// So many volumes have series of their own in the figures for Prometheus.
    pub metrics_volumes: usize,
    /// A request of a host that takes so long is slow; zero for none.
    pub slow_after: Duration,
    /// Somebody is told of what is expected to be full within so many days; 0 for nobody.
    pub forecast_days: u32,
    /// How lines of the log look.
    pub log_format: LogFormat,
    /// Where the passphrase of the keyring is.
    pub keyring_passphrase_file: Option<PathBuf>,
}

/// A certificate and its key, in PEM form.
#[derive(Clone)]
pub struct CertificateFiles {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

impl fmt::Debug for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateFiles(..)")
    }
}

impl Settings {
    /// Of a command line, its environment and its configuration file.
    pub fn from_arguments(arguments: Arguments) -> anyhow::Result<Self> {
        let (arguments, origins) = config_file::complete(arguments)?;
        Self::from_complete(arguments, &origins)
    }

    /// Of arguments that have what the configuration file says.
    pub fn from_complete(arguments: Arguments, origins: &Origins) -> anyhow::Result<Self> {
        let Some(data_dir) = arguments.data_dir else {
            bail!(
                "no data directory given: use --data-dir DIR, QUARRYD_DATA_DIR, or data_dir in the configuration file"
            );
        };
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = arguments.cores.unwrap_or(cpus.min(CORES_MAX));
        if !(1..=CORES_MAX).contains(&cores) {
            bail!("{} {cores}: a node has between 1 and {CORES_MAX}", origins.name("cores"));
        }
        let metrics_volumes = arguments.metrics_volumes.unwrap_or(METRICS_VOLUMES_DEFAULT);
        if metrics_volumes > METRICS_VOLUMES_MAX {
            bail!(
                "{} {metrics_volumes}: at most {METRICS_VOLUMES_MAX} have series of their own",
                origins.name("metrics_volumes")
            );
        }
        let forecast_days = arguments.forecast_days.unwrap_or(FORECAST_DAYS_DEFAULT);
        if forecast_days > FORECAST_DAYS_MAX {
            bail!(
                "{} {forecast_days}: a forecast looks {FORECAST_DAYS_MAX} days ahead at most",
                origins.name("forecast_days")
            );
        }
        let slow_ms = arguments.slow_request_ms.unwrap_or(SLOW_REQUEST_MS_DEFAULT);
        Ok(Self {
            device_patience: device_patience(origins, arguments.device_timeout)?,
            scrub_days: arguments.scrub_days.unwrap_or(SCRUB_DAYS_DEFAULT),
            scrub_rate_bytes: at_least(
                &origins.name("scrub_rate"),
                arguments.scrub_rate.map_or(SCRUB_RATE_BYTES_DEFAULT, |rate| rate.0),
                SCRUB_RATE_BYTES_MIN,
                " a second",
            )?,
            metrics_volumes,
            slow_after: Duration::from_millis(slow_ms),
            forecast_days,
            log_format: arguments.log_format.unwrap_or_default(),
            keyring_passphrase_file: passphrase_file(arguments.keyring_passphrase_file),
            api_certificate: api_certificate(origins, arguments.api_cert, arguments.api_key)?,
            api_names: arguments.api_names,
            metrics_are_open: arguments.metrics_open.unwrap_or_default(),
            vhost_user: vhost_user(arguments.vhost_user, &data_dir)?,
            data_dir,
            api: address(&origins.name("api"), arguments.api.as_deref().unwrap_or(API_DEFAULT))?,
            nbd_tls: nbd_tls(
                origins,
                arguments.nbd_tls_cert,
                arguments.nbd_tls_key,
                arguments.nbd_tls_client_ca,
            )?,
            nbd: nbd_addresses(origins, arguments.nbd, arguments.nbd_unix)?,
            iscsi: tcp_addresses(&origins.name("iscsi"), &arguments.iscsi)?,
            nvme_tcp: tcp_addresses(&origins.name("nvme_tcp"), &arguments.nvme_tcp)?,
            advertise: arguments.advertise,
            cores,
            memory: memory(origins, arguments.memory, arguments.read_cache, arguments.cache_disk.is_some())?,
            cache_disk: arguments.cache_disk,
        })
    }

    /// Where hosts are told to connect to in place of these listeners; empty when they are not told anything else.
    pub fn advertised(&self, listeners: &[Address]) -> Vec<SocketAddr> {
        let ports = tcp(listeners).map(|listener| listener.port());
        ports.flat_map(|port| self.advertise.iter().map(move |ip| SocketAddr::new(*ip, port))).collect()
    }

    /// Where hosts reach these listeners.
    pub fn portals(&self, listeners: &[Address]) -> Vec<SocketAddr> {
        match self.advertise.is_empty() {
            true => tcp(listeners).collect(),
            false => self.advertised(listeners),
        }
    }
}

fn at_least(name: &str, bytes: u64, min: u64, per: &str) -> anyhow::Result<u64> {
    if bytes < min {
        bail!("{name} {}: at least {}{per} is needed", ByteSize(bytes), ByteSize(min));
    }
    Ok(bytes)
}

/// The bound for everything, how much of it data may take that is read again, and what finding it on a cache disk may take.
fn memory(
    origins: &Origins,
    all: Option<ByteSize>,
    read_cache: Option<ByteSize>,
    has_cache_disk: bool,
) -> anyhow::Result<Memory> {
    let name = origins.name("memory");
    let bytes = at_least(&name, all.map_or(MEMORY_BYTES_DEFAULT, |size| size.0), MEMORY_BYTES_MIN, "")?;
    let read_cache_bytes = read_cache.map_or(bytes / READ_CACHE_PART, |size| size.0);
    if read_cache_bytes > bytes / 2 {
        bail!(
            "{} {}: at most half of {name}, which is {}; maps and buffers need the rest",
            origins.name("read_cache"),
            ByteSize(read_cache_bytes),
            ByteSize(bytes)
        );
    }
    let cache_index_bytes = if has_cache_disk { bytes / CACHE_INDEX_PART } else { 0 };
    Ok(Memory { bytes, read_cache_bytes, cache_index_bytes })
}

fn device_patience(origins: &Origins, seconds: Option<u64>) -> anyhow::Result<Duration> {
    let Some(seconds) = seconds else { return Ok(DEVICE_PATIENCE_DEFAULT) };
    let patience = Duration::from_secs(seconds);
    let (least, most) = (DEVICE_PATIENCE_MIN.as_secs(), DEVICE_PATIENCE_MAX.as_secs());
    if !(DEVICE_PATIENCE_MIN..=DEVICE_PATIENCE_MAX).contains(&patience) {
        let name = origins.name("device_timeout");
        bail!("{name} {seconds}: between {least} and {most} seconds are possible");
    }
    Ok(patience)
}

/// Absolute, so that whoever is given the path of a socket can open it from anywhere.
fn vhost_user(folder: Option<PathBuf>, data_dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = folder.unwrap_or_else(|| data_dir.join("vhost-user"));
    std::path::absolute(&folder).with_context(|| format!("--vhost-user {}", folder.display()))
}

fn tcp(listeners: &[Address]) -> impl Iterator<Item = SocketAddr> {
    listeners.iter().filter_map(|listener| match listener {
        Address::Tcp(address) => Some(*address),
        Address::Unix(_) => None,
    })
}

fn api_certificate(
    origins: &Origins,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
) -> anyhow::Result<Option<CertificateFiles>> {
    match (certificate, key) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(CertificateFiles {
            certificate: read_bytes(&origins.name("api_cert"), &certificate)?,
            key: read_bytes(&origins.name("api_key"), &key)?,
        })),
        (certificate, _) => {
            let name = origins.name(if certificate.is_some() { "api_cert" } else { "api_key" });
            bail!("{name}: the API needs a certificate and its key: --api-cert FILE --api-key FILE")
        }
    }
}

fn nbd_tls(
    origins: &Origins,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_authorities: Option<PathBuf>,
) -> anyhow::Result<Option<ServerTls>> {
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if client_authorities.is_none() => return Ok(None),
        _ => {
            let keys = ["nbd_tls_cert", "nbd_tls_key", "nbd_tls_client_ca"];
            let name = origins.name(keys.into_iter().find(|key| origins.is_given(key)).unwrap_or(keys[0]));
            bail!("{name}: NBD needs a certificate and its key: --nbd-tls-cert FILE --nbd-tls-key FILE")
        }
    };
    let authorities =
        client_authorities.as_deref().map(|path| read_bytes(&origins.name("nbd_tls_client_ca"), path));
    let tls = ServerTls::from_pem(
        &read_bytes(&origins.name("nbd_tls_cert"), &certificate)?,
        &read_bytes(&origins.name("nbd_tls_key"), &key)?,
        authorities.transpose()?.as_deref(),
    );
    tls.with_context(|| format!("{} and {}", certificate.display(), key.display())).map(Some)
}

#[expect(clippy::disallowed_methods, reason = "the daemon reads its own configuration before anything runs")]
fn read_bytes(option: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{option} {} cannot be read", path.display()))
}

fn nbd_addresses(
    origins: &Origins,
    tcp: Option<String>,
    unix: Option<PathBuf>,
) -> anyhow::Result<Vec<Address>> {
    let tcp = match (tcp, &unix) {
        (None, None) => Some(NBD_DEFAULT.to_owned()),
        (tcp, _) => tcp,
    };
    let mut all = Vec::new();
    if let Some(path) = unix {
        all.push(Address::Unix(std::path::absolute(&path).context("--nbd-unix")?));
    }
    if let Some(text) = tcp {
        all.push(Address::Tcp(address(&origins.name("nbd"), &text)?));
    }
    Ok(all)
}

fn tcp_addresses(name: &str, texts: &[String]) -> anyhow::Result<Vec<Address>> {
    texts.iter().map(|text| address(name, text).map(Address::Tcp)).collect()
}

fn address(option: &str, text: &str) -> anyhow::Result<SocketAddr> {
    let mut found = text.to_socket_addrs().with_context(|| {
        format!("{option} {text}: not an address; write HOST:PORT, for example 127.0.0.1:7480")
    })?;
    found.next().with_context(|| format!("{option} {text}: the name has no address"))
}
