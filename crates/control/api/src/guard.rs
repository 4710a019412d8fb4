//! Who may pass: what stands between a connection and the handlers.
//!
//! A request goes through these steps, in this order, and the first that refuses answers:
//! 1. From another machine it must come over TLS.
//! 2. A token says who asks (`authenticate`); wrong ones are counted.
//! 3. The table (`operations`) says what the operation needs and where it names things; the policies say whether the asker may
//!    do that with things of the node or of that tenant (`tenancy`). What belongs to another tenant does not exist.
//! 4. Who has lately asked for too much that failed is turned away from changes (`allowance`).
//! 5. A change is written to the audit log before it is begun and after it has ended (`trail`); without the first it is not begun.
//! 6. A change that would put what is not a tenant's into what is its own is refused (`belonging`), and one that would make a tenant
//!    larger than its bounds (`quota`).

mod allowance;
mod authenticate;
mod belonging;
mod figures;
mod operations;
mod pass;
mod quota;
mod tenancy;
mod tenant_settings;
mod trail;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quarry_api_types::{Name, QualityOfService, Secret, Timestamp};
use quarry_audit::AuditLog;
use quarry_auth::{AccessStore, Attempts, Permission, Policies, Principal, Scope};
use tokio::sync::{Mutex, Semaphore};

pub(crate) use authenticate::{too_many, unauthenticated};
pub(crate) use operations::{Operation, by_id as operation};
pub(crate) use pass::{Gate, broken, pass, whole};
pub(crate) use quota::{bytes_in, of_tenant as volumes_of};
pub(crate) use tenancy::not_there;
pub(crate) use trail::{Asked, Outcome};

/// Passwords that are looked at at the same time; each takes 19 MiB for a moment.
const HASHES_MAX: usize = 2;

/// Where a request comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) is_encrypted: bool,
}

/// Users, tokens and tenants; what they may do; and the log of what they did.
pub struct Guard {
    pub(crate) store: AccessStore,
    pub(crate) audit: AuditLog,
    pub(crate) policies: Policies,
    pub(crate) attempts: Attempts,
    /// Whether anybody may look at the figures for Prometheus.
    metrics_are_open: bool,
    allowances: allowance::Allowances,
    pub(crate) hashing: Semaphore,
    /// Held while a tenant grows, so that two requests do not both get its last byte.
    growing: Mutex<()>,
    /// Of which ids of requests are made.
    began: Timestamp,
    requests: AtomicU64,
    refused: AtomicU64,
    unwritten: AtomicU64,
    answered: figures::Requests,
}

impl Guard {
    /// A guard over a store and a log. `metrics_are_open`: `/metrics` takes no token.
    pub fn new(store: AccessStore, audit: AuditLog, metrics_are_open: bool) -> Self {
        Self {
            store,
            audit,
            policies: Policies::new(),
            attempts: Attempts::default(),
            metrics_are_open,
            allowances: allowance::Allowances::default(),
            hashing: Semaphore::new(HASHES_MAX),
            growing: Mutex::default(),
            began: now(),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            answered: figures::Requests::default(),
        }
    }

    /// What tenants get of the node's performance, those for which something is asked.
    pub fn tenants_qos(&self) -> Vec<(Name, QualityOfService)> {
        let tenants = self.store.tenants().into_iter();
        tenants.filter_map(|tenant| Some((tenant.name.clone(), tenant.qos()?))).collect()
    }

    /// A guard that forgets everything when it is dropped, with a token that may do everything: for tests of what is behind it.
    pub fn in_memory() -> (Arc<Self>, Secret) {
        let store = AccessStore::in_memory().expect("memory takes a new database");
        let audit = AuditLog::in_memory().expect("memory takes a new database");
        let token = store.new_admin_token(now()).expect("memory takes a token");
        (Arc::new(Self::new(store, audit, false)), token)
    }

    /// Whether somebody may do something with things of `scope`.
    pub(crate) fn may(&self, principal: &Principal, permission: Permission, scope: &Scope) -> bool {
        self.policies.permit(principal, permission, scope)
    }

    /// The id that was given, or a new one that no other request to this node has had.
    fn request_id(&self, given: Option<String>) -> String {
        let made =
            || format!("{:x}-{:x}", self.began.unix_ms(), self.requests.fetch_add(1, Ordering::Relaxed));
        given.unwrap_or_else(made)
    }

    /// Figures for Prometheus.
    pub fn metrics(&self) -> String {
        let (refused, unwritten) =
            (self.refused.load(Ordering::Relaxed), self.unwritten.load(Ordering::Relaxed));
        let mut text = format!(
            "# HELP quarry_api_refused_total Requests that were refused because of who asked, or because nobody knew who.\n\
             # TYPE quarry_api_refused_total counter\nquarry_api_refused_total {refused}\n\
             # HELP quarry_audit_unwritten_total Entries that the audit log could not take.\n\
             # TYPE quarry_audit_unwritten_total counter\nquarry_audit_unwritten_total {unwritten}\n"
        );
        self.answered.describe(&mut text);
        text
    }
}

/// The time by the wall.
#[expect(
    clippy::disallowed_types,
    reason = "the control plane's times, which people are shown and tokens end by"
)]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_ms(since.as_millis() as u64)
}
