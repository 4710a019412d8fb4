//! Who may write to a place in a bucket: what a lock is for a file.
//!
//! The same rules as for NBD exports (RFD 0014), with an object of its own for the claim:
//! - A process that holds a place writes nothing, its claim included, from [`LEASE_TIME`] after the beginning of its last renewal on.
//!   (One that makes a pool of it does not hold it yet: whoever is told to take a device by force takes it, and the other one gives it up.)
//! - Whoever finds a claim that is held watches it for [`LEASE_TIME`] and [`LATE_TIME_MAX`]: if it moves, its holder lives, and the
//!   place is refused; if not, the holder sends nothing any more, and what it has sent has been carried out or forgotten.
//! - Of two that claim at once, the last writer has it: each looks again [`SETTLE_TIME`] after its claim was written, and a claim is written within
//!   [`SETTLE_TIME`] of the look that allowed it. One that took longer may have come after another's second look: its writer waits until that
//!   one has found it, and begins again.
//! - A holder that was too late to renew claims again, as long as the claim that it finds is its own. Had anybody else held the place meanwhile,
//!   what this process knows of it would be wrong: so a claim of somebody else, or one's own that may have covered it, ends the lease for good.
//! - A claim is written once and not repeated, and given back only when nothing of one's own that was not answered can come after that.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quarry_format::claim::{CLAIM_BYTES, Claim};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::bucket::{Bucket, Sent};
use crate::lease::{ClaimError, Lease};
use crate::limits::{LATE_TIME_MAX, LEASE_TIME, OUTAGE_TIME_MAX, RENEW_PAUSE, RETRY_PAUSE_MAX, SETTLE_TIME};

const NAME: &str = "claim";

/// The claim of this process on a place.
#[derive(Default)]
pub(crate) struct Holding {
    /// Held while a claim is made or given back.
    holders: tokio::sync::Mutex<Option<Holders>>,
    sequence: AtomicU64,
    /// Until when a claim that was sent and not answered may still be carried out, or somebody go on whose claim it covered.
    doubt_until: Mutex<Option<Instant>>,
}

/// Disks of this process that hold a place, and the task that renews the claim.
struct Holders {
    count: usize,
    lease: Arc<Lease>,
    renewing: JoinHandle<()>,
    /// Ends the task, between two renewals.
    stop: Arc<Notify>,
}

/// What became of an attempt to claim a place.
enum Attempt {
    /// It was decided upon then.
    Claimed(Instant),
    /// The server did not take it, this time.
    Refused(io::Error),
    /// It may have come after somebody else's second look.
    Late(io::Error),
}

impl Holding {
    /// Claims the place for the process, or joins its claim; renews it from then on.
    pub async fn hold(self: &Arc<Self>, bucket: &Arc<Bucket>, holder: u128) -> io::Result<Arc<Lease>> {
        let mut holders = self.holders.lock().await;
        if let Some(holders) = holders.as_mut().filter(|holders| !holders.lease.is_lost()) {
            holders.count += 1;
            return Ok(holders.lease.clone());
        }
        let lease = Arc::new(Lease::new(self.claim(bucket, holder).await? + LEASE_TIME));
        let stop = Arc::new(Notify::new());
        let renewing =
            Renewing { holding: self.clone(), bucket: bucket.clone(), holder, lease: lease.clone() };
        let renewing = tokio::spawn(renewing.go_on(stop.clone()));
        // Of disks whose lease was lost nothing is left to be given back.
        holders.replace(Holders { count: 1, lease: lease.clone(), renewing, stop });
        Ok(lease)
    }

    /// Claims the place when nobody holds it. Goes on for [`OUTAGE_TIME_MAX`] while the server is away.
    async fn claim(&self, bucket: &Bucket, holder: u128) -> io::Result<Instant> {
        let began = Instant::now();
        loop {
            let in_doubt = *self.doubt_until.lock().expect("no panic under it");
            if let Some(until) = in_doubt {
                sleep_until(until).await;
            }
            let former = wait_for_former_holder(bucket, holder).await?;
            let error = match self.try_to_claim(bucket, holder, former).await? {
                Attempt::Claimed(decided) => return Ok(decided),
                Attempt::Refused(error) | Attempt::Late(error) => error,
            };
            if began.elapsed() > OUTAGE_TIME_MAX {
                return Err(error);
            }
            tracing::warn!(%error, "a bucket could not be claimed; trying again");
            sleep(RETRY_PAUSE_MAX).await;
        }
    }

    /// Writes a claim if that of `former` is there still, and looks again. After one that was late, the next waits.
    async fn try_to_claim(
        &self,
        bucket: &Bucket,
        holder: u128,
        former: Option<Claim>,
    ) -> io::Result<Attempt> {
        let decided = Instant::now();
        let found = match look(bucket).await? {
            Ok(found) => found,
            Err(passing) => return Ok(Attempt::Refused(passing)),
        };
        if let Some(other) = found.filter(|claim| is_of_another(claim, holder) && Some(*claim) != former) {
            return Err(ClaimError::Held { holder: other.holder }.into());
        }
        let late =
            || ClaimError::Slow { took_ms: decided.elapsed().as_millis(), max_ms: SETTLE_TIME.as_millis() };
        let in_time = || if decided.elapsed() < SETTLE_TIME { Ok(()) } else { Err(late()) };
        let sequence =
            1 + self.sequence.load(Ordering::Relaxed).max(former.map_or(0, |former| former.sequence));
        let (written, in_doubt) =
            self.write(bucket, Claim { holder, sequence, is_held: true }, in_time).await;
        if let Err(error) = written {
            return match error.kind() == io::ErrorKind::TimedOut {
                true if in_doubt => Ok(self.late(error)),
                true => Ok(Attempt::Refused(error)),
                false => Err(error),
            };
        }
        if let Err(late) = in_time() {
            return Ok(self.late(late.into()));
        }
        sleep(SETTLE_TIME).await;
        match look(bucket).await? {
            Ok(Some(claim)) if claim.holder == holder => Ok(Attempt::Claimed(decided)),
            Ok(Some(claim)) => Err(ClaimError::Held { holder: claim.holder }.into()),
            Ok(None) => Ok(Attempt::Refused(io::Error::other("the claim that was written is not there"))),
            Err(passing) => Ok(Attempt::Refused(passing)),
        }
    }

    /// Writes a claim, once. Says also whether it may be carried out although it failed.
    async fn write(
        &self,
        bucket: &Bucket,
        claim: Claim,
        check: impl Fn() -> Result<(), ClaimError> + Sync,
    ) -> (io::Result<()>, bool) {
        self.sequence.store(claim.sequence, Ordering::Relaxed);
        let outcome = bucket.put(NAME, Bytes::from(claim.encode()), Sent::Once, check).await;
        if outcome.in_doubt {
            self.doubt(LATE_TIME_MAX);
        }
        (outcome.result, outcome.in_doubt)
    }

    fn late(&self, error: io::Error) -> Attempt {
        self.doubt(LEASE_TIME + LATE_TIME_MAX);
        Attempt::Late(error)
    }

    fn doubt(&self, time: Duration) {
        *self.doubt_until.lock().expect("no panic under it") = Some(Instant::now() + time);
    }

    fn is_in_doubt(&self) -> bool {
        self.doubt_until.lock().expect("no panic under it").is_some_and(|until| Instant::now() < until)
    }

    /// Lets go of the place when this is the last disk of the process on it. The claim is given back if `is_quiet` says that nothing of
    /// the process is on its way; if not, the next one waits.
    pub async fn let_go(
        &self,
        bucket: &Bucket,
        holder: u128,
        lease: &Arc<Lease>,
        is_quiet: impl Fn() -> bool,
    ) {
        let mut guard = self.holders.lock().await;
        let Some(holders) = guard.as_mut().filter(|holders| Arc::ptr_eq(&holders.lease, lease)) else {
            return;
        };
        holders.count -= 1;
        if holders.count > 0 {
            return;
        }
        let Some(holders) = guard.take() else { return };
        holders.stop.notify_one();
        let _ = holders.renewing.await;
        let given_back = match is_quiet() && !self.is_in_doubt() {
            true => self.give_back(bucket, holder, lease).await,
            false => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "a request was not answered, and may still be carried out",
            )),
        };
        if let Err(error) = given_back {
            tracing::warn!(%error, "the claim on a bucket was not given back; who opens it next waits");
        }
    }

    async fn give_back(&self, bucket: &Bucket, holder: u128, lease: &Lease) -> io::Result<()> {
        lease.check()?;
        if read(bucket, Sent::Once).await?.is_some_and(|claim| claim.holder == holder) {
            let sequence = self.sequence.load(Ordering::Relaxed) + 1;
            self.write(bucket, Claim { holder, sequence, is_held: false }, || lease.check()).await.0?;
        }
        Ok(())
    }
}

/// The task that renews a claim.
struct Renewing {
    holding: Arc<Holding>,
    bucket: Arc<Bucket>,
    holder: u128,
    lease: Arc<Lease>,
}

impl Renewing {
    /// Renews the claim until it is lost or given back. A bucket that is away may come back: what is written meanwhile waits.
    async fn go_on(self, stop: Arc<Notify>) {
        let mut pause = RENEW_PAUSE;
        while timeout(pause, stop.notified()).await.is_err() {
            let renewed = match self.lease.check() {
                Ok(()) => self.renew().await,
                Err(_) => self.claim_again().await,
            };
            pause = match renewed {
                Ok(began) => {
                    self.lease.extend(began + LEASE_TIME);
                    RENEW_PAUSE
                }
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tracing::error!(%error, "a bucket was taken over; nothing is written to it any more");
                    return self.lease.lose();
                }
                Err(error) => {
                    tracing::warn!(%error, "the claim on a bucket could not be renewed");
                    SETTLE_TIME
                }
            };
        }
    }

    /// Raises the sequence of the claim that is found, if it is our own. Nothing is sent once the lease has ended.
    async fn renew(&self) -> io::Result<Instant> {
        let began = Instant::now();
        self.find_own().await?;
        let sequence = self.holding.sequence.load(Ordering::Relaxed) + 1;
        let claim = Claim { holder: self.holder, sequence, is_held: true };
        self.holding.write(&self.bucket, claim, || self.lease.check()).await.0?;
        Ok(began)
    }

    /// The lease has ended, so that another may be about to claim the place.
    async fn claim_again(&self) -> io::Result<Instant> {
        let own = self.find_own().await?;
        match self.holding.try_to_claim(&self.bucket, self.holder, own).await? {
            Attempt::Claimed(decided) => Ok(decided),
            Attempt::Refused(error) => Err(error),
            Attempt::Late(_) => Err(ClaimError::Lost.into()),
        }
    }

    /// The claim, which is our own; or nothing, where somebody has emptied the bucket: another holder would have written one.
    async fn find_own(&self) -> io::Result<Option<Claim>> {
        let found = read(&self.bucket, Sent::Once).await?;
        match found.filter(|claim| claim.holder != self.holder) {
            Some(other) => Err(ClaimError::Held { holder: other.holder }.into()),
            None => Ok(found),
        }
    }
}

fn is_of_another(claim: &Claim, holder: u128) -> bool {
    claim.is_held && claim.holder != holder
}

async fn read(bucket: &Bucket, sent: Sent) -> io::Result<Option<Claim>> {
    let bytes = bucket.get(NAME, 0..CLAIM_BYTES as u64, sent).await?;
    Ok(bytes.and_then(|bytes| Claim::decode(&bytes).ok()))
}

/// Reads the claim, once; an error that may pass is no error yet.
async fn look(bucket: &Bucket) -> io::Result<Result<Option<Claim>, io::Error>> {
    match read(bucket, Sent::Once).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(Err(error)),
        found => found.map(Ok),
    }
}

/// Waits until nothing can come from a former holder any more; gives the claim that it left.
async fn wait_for_former_holder(bucket: &Bucket, holder: u128) -> io::Result<Option<Claim>> {
    let first = read(bucket, Sent::UntilAnswered).await?;
    let Some(former) = first.filter(|claim| is_of_another(claim, holder)) else { return Ok(first) };
    let wait = LEASE_TIME + LATE_TIME_MAX;
    tracing::warn!(
        wait_s = wait.as_secs(),
        "the last user of a bucket has not let go of it; waiting until nothing can come from it any more"
    );
    let began = Instant::now();
    while began.elapsed() < wait {
        sleep(RENEW_PAUSE / 3).await;
        match read(bucket, Sent::UntilAnswered).await? {
            Some(claim) if claim == former => {}
            Some(claim) if claim.is_held => return Err(ClaimError::Held { holder: claim.holder }.into()),
            other => return Ok(other),
        }
    }
    Ok(first)
}

#[cfg(test)]
mod tests;
