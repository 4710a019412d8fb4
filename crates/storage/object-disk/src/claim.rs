//! Who may write to a place in a bucket: what a lock is for a file.
//!
//! The same rules as for NBD exports (RFD 0014), with an object of its own for the claim:
//! - A process that holds a place writes nothing from [`LEASE_TIME`] after the beginning of its last renewal on. (One that makes a pool of it
//!   does not hold it yet: whoever is told to take a device by force takes it, and the other one gives it up.)
//! - Whoever finds a claim that is held watches it for [`LEASE_TIME`] and [`LATE_TIME_MAX`]: if it moves, its holder lives, and the
//!   place is refused; if not, the holder sends nothing any more, and what it has sent has been carried out or forgotten.
//! - Of two that claim at once, the last writer has it: each looks again after [`SETTLE_TIME`], in which a claim whose writing was
//!   decided upon before is written or given up.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quarry_format::claim::{CLAIM_BYTES, Claim};
use tokio::time::{Instant, sleep};

use crate::bucket::Bucket;
use crate::limits::{LATE_TIME_MAX, LEASE_TIME, RENEW_PAUSE, SETTLE_TIME};

const NAME: &str = "claim";

/// Why a place in a bucket cannot be held.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error(
        "another quarryd uses it (the claim of process {holder:032x} on it is being renewed): stop that one, or take the \
         device out of its pool first"
    )]
    Held { holder: u128 },
    #[error("another quarryd has taken it over")]
    Lost,
    #[error("the claim on it could not be renewed in time, so another quarryd may use it by now")]
    Overdue,
}

impl From<ClaimError> for io::Error {
    fn from(error: ClaimError) -> Self {
        let kind = match error {
            ClaimError::Overdue => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::ResourceBusy,
        };
        io::Error::new(kind, error)
    }
}

/// The claim of this process on a place.
#[derive(Default)]
pub(crate) struct Holding {
    /// Disks of this process that hold it, and the task that renews the claim. Held while a claim is made or given back.
    holders: tokio::sync::Mutex<Holders>,
    lease: Mutex<Lease>,
    sequence: AtomicU64,
}

#[derive(Clone, Copy, Default)]
enum Lease {
    /// Nobody holds the place for this process.
    #[default]
    None,
    Until(Instant),
    Lost,
}

#[derive(Default)]
struct Holders {
    count: usize,
    renewing: Option<tokio::task::JoinHandle<()>>,
}

impl Holding {
    /// Whether anything may be written now.
    pub fn check(&self) -> io::Result<()> {
        match *self.lease.lock().expect("no panic under it") {
            Lease::None => Ok(()),
            Lease::Until(until) if Instant::now() < until => Ok(()),
            // Its renewal waits for the server as everything does.
            Lease::Until(_) => Err(ClaimError::Overdue.into()),
            Lease::Lost => Err(ClaimError::Lost.into()),
        }
    }

    fn set_lease(&self, lease: Lease) {
        *self.lease.lock().expect("no panic under it") = lease;
    }

    /// Claims the place for the process, or joins its claim; renews it from then on.
    pub async fn hold(self: &Arc<Self>, bucket: &Arc<Bucket>, holder: u128) -> io::Result<()> {
        let mut holders = self.holders.lock().await;
        if holders.count == 0 {
            let began = self.claim(bucket, holder).await?;
            self.set_lease(Lease::Until(began + LEASE_TIME));
            holders.renewing.replace(tokio::spawn(renew_always(self.clone(), bucket.clone(), holder)));
        }
        holders.count += 1;
        Ok(())
    }

    async fn claim(&self, bucket: &Bucket, holder: u128) -> io::Result<Instant> {
        let mut sequence = wait_for_former_holder(bucket, holder).await?;
        loop {
            let decided = Instant::now();
            if let Some(other) = read(bucket).await?.filter(|claim| claim.is_held && claim.holder != holder)
                && other.sequence != sequence
            {
                return Err(ClaimError::Held { holder: other.holder }.into());
            }
            sequence += 1;
            write(bucket, Claim { holder, sequence, is_held: true }).await?;
            let took = decided.elapsed();
            sleep(SETTLE_TIME).await;
            match read(bucket).await? {
                Some(claim) if claim.holder == holder => {}
                Some(claim) => return Err(ClaimError::Held { holder: claim.holder }.into()),
                None => continue,
            }
            if took < SETTLE_TIME {
                self.sequence.store(sequence, Ordering::Relaxed);
                return Ok(decided);
            }
        }
    }

    async fn renew(&self, bucket: &Bucket, holder: u128) -> io::Result<()> {
        let began = Instant::now();
        match read(bucket).await? {
            Some(claim) if claim.holder == holder && claim.is_held => {}
            Some(claim) => return Err(ClaimError::Held { holder: claim.holder }.into()),
            // Somebody has emptied the bucket; another holder would have written one.
            None => {}
        }
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        write(bucket, Claim { holder, sequence, is_held: true }).await?;
        self.set_lease(Lease::Until(began + LEASE_TIME));
        Ok(())
    }

    /// Lets go of the place when this is the last disk of the process on it. Nothing of it may be on its way.
    pub async fn let_go(&self, bucket: &Bucket, holder: u128) {
        let mut holders = self.holders.lock().await;
        holders.count = holders.count.saturating_sub(1);
        if holders.count > 0 {
            return;
        }
        if let Some(renewing) = holders.renewing.take() {
            renewing.abort();
            let _ = renewing.await;
        }
        self.set_lease(Lease::None);
        let released = async {
            if read(bucket).await?.is_some_and(|claim| claim.holder == holder) {
                let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
                write(bucket, Claim { holder, sequence, is_held: false }).await?;
            }
            Ok::<(), io::Error>(())
        };
        if let Err(error) = released.await {
            tracing::warn!(%error, "the claim on a bucket was not given back; who opens it next waits");
        }
    }
}

/// Renews a claim until it is lost or given back. A bucket that is away may come back: what is written meanwhile fails.
async fn renew_always(holding: Arc<Holding>, bucket: Arc<Bucket>, holder: u128) {
    loop {
        sleep(RENEW_PAUSE).await;
        if let Err(error) = holding.renew(&bucket, holder).await {
            if error.kind() == io::ErrorKind::ResourceBusy {
                tracing::error!(%error, "a bucket was taken over; nothing is written to it any more");
                return holding.set_lease(Lease::Lost);
            }
            tracing::warn!(%error, "the claim on a bucket could not be renewed");
        }
    }
}

async fn read(bucket: &Bucket) -> io::Result<Option<Claim>> {
    let bytes = bucket.get(NAME, 0..CLAIM_BYTES as u64).await?;
    Ok(bytes.and_then(|bytes| Claim::decode(&bytes).ok()))
}

async fn write(bucket: &Bucket, claim: Claim) -> io::Result<()> {
    bucket.put(NAME, Bytes::from(claim.encode()), || Ok(())).await.result
}

/// Waits until nothing can come from a former holder any more; gives the sequence of its claim.
async fn wait_for_former_holder(bucket: &Bucket, holder: u128) -> io::Result<u64> {
    let Some(first) = read(bucket).await? else { return Ok(0) };
    if !first.is_held || first.holder == holder {
        return Ok(first.sequence);
    }
    let wait = LEASE_TIME + LATE_TIME_MAX;
    tracing::warn!(
        wait_s = wait.as_secs(),
        "the last user of a bucket has not let go of it; waiting until nothing can come from it any more"
    );
    let began = Instant::now();
    while began.elapsed() < wait {
        sleep(RENEW_PAUSE / 3).await;
        match read(bucket).await? {
            Some(claim) if claim == first => {}
            Some(claim) if claim.is_held => return Err(ClaimError::Held { holder: claim.holder }.into()),
            Some(claim) => return Ok(claim.sequence),
            None => return Ok(first.sequence),
        }
    }
    Ok(first.sequence)
}
