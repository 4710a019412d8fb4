//! Who may use a disk: what a lock is for a file.
//!
//! NBD has no lock and no fence, and what other protocols have differs; a claim in the device's header has to do, and time. Invariants:
//! - A process sends nothing to a disk that it has claimed from [`LEASE_TIME`] after the beginning of its last renewal on.
//!   So it goes on only when it has seen, less than that ago, that the claim is still its own.
//! - Whoever finds a claim that is held watches it for [`LEASE_TIME`] and [`LATE_TIME_MAX`]: if it moves, its holder lives, and the
//!   export is refused; if not, the holder sends nothing any more, and what it has sent has been carried out or forgotten.
//! - Of two that claim at once, the last writer has it: each looks again after [`SETTLE_TIME`], in which a claim whose writing
//!   was decided upon before is written or given up.
//! - The claim itself is exempt from the table of ranges and from repetition: an old one of the same holder that lands late
//!   is renewed the next time.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quarry_env::completion;
use quarry_format::claim::{CLAIM_BYTES, Claim};
use quarry_format::label::CLAIM_OFFSET;

use crate::limits::{LATE_TIME_MAX, LEASE_TIME, RENEW_PAUSE, SETTLE_TIME};
use crate::request::Work;
use crate::session::Session;

/// Why a disk cannot be held.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody renews the claim.
    #[error(
        "another quarryd uses it (the claim of process {holder:032x} on it is being renewed): stop that one, or take the \
         device out of its pool first"
    )]
    Held {
        /// The number of that process.
        holder: u128,
    },
}

impl From<ClaimError> for io::Error {
    fn from(error: ClaimError) -> Self {
        io::Error::new(io::ErrorKind::ResourceBusy, error)
    }
}

impl Session {
    async fn read_claim(self: &Rc<Self>) -> io::Result<Option<Claim>> {
        let (completer, completion) = completion();
        let buffer = self.env.buffers.allocate(CLAIM_BYTES);
        let work = Work::ReadClaim { buffer: Some(buffer), received: 0, completer };
        self.submit(work, CLAIM_OFFSET, CLAIM_BYTES as u32);
        let (buffer, result) = completion.await;
        result?;
        Ok(Claim::decode(&buffer).ok())
    }

    async fn write_claim(self: &Rc<Self>, claim: Claim) -> io::Result<()> {
        let (completer, completion) = completion();
        let data = vec![self.env.buffers.copy_of(&claim.encode())];
        self.submit(Work::WriteClaim { data, completer }, CLAIM_OFFSET, CLAIM_BYTES as u32);
        completion.await
    }

    async fn flush_claim(self: &Rc<Self>) -> io::Result<()> {
        let (completer, completion) = completion();
        self.submit_flush(Some(completer));
        completion.await
    }

    /// Claims the disk for the process, or joins the claim of another core of it; renews it from then on.
    pub async fn hold(self: &Rc<Self>) -> io::Result<()> {
        let holder = self.remote.holder(|| self.env.random.next_u128());
        while !self.remote.begin_claiming() {
            self.env.clock.sleep(RENEW_PAUSE / 30).await;
        }
        let claimed = match self.remote.is_claimed() {
            true => Ok(()),
            false => self.claim(holder).await,
        };
        self.remote.end_claiming();
        claimed?;
        self.remote.holders.fetch_add(1, Ordering::Relaxed);
        self.set_held();
        self.env.spawner.spawn(self.clone().renew_always(holder)).detach();
        Ok(())
    }

    async fn claim(self: &Rc<Self>, holder: u128) -> io::Result<()> {
        let mut sequence = self.wait_for_former_holder(holder).await?;
        loop {
            let decided = self.env.clock.now();
            if let Some(other) =
                self.read_claim().await?.filter(|claim| claim.is_held && claim.holder != holder)
                && other.sequence != sequence
            {
                return Err(ClaimError::Held { holder: other.holder }.into());
            }
            sequence += 1;
            self.write_claim(Claim { holder, sequence, is_held: true }).await?;
            self.flush_claim().await?;
            let took = self.env.clock.now() - decided;
            self.env.clock.sleep(SETTLE_TIME).await;
            match self.read_claim().await? {
                Some(claim) if claim.holder == holder => {}
                Some(claim) => return Err(ClaimError::Held { holder: claim.holder }.into()),
                None => continue,
            }
            if took < SETTLE_TIME {
                self.remote.renewed(decided + LEASE_TIME, sequence);
                return Ok(());
            }
        }
    }

    /// Waits until nothing can come from a former holder any more; gives the sequence of its claim.
    async fn wait_for_former_holder(self: &Rc<Self>, holder: u128) -> io::Result<u64> {
        let Some(first) = self.read_claim().await? else { return Ok(0) };
        if !first.is_held || first.holder == holder {
            return Ok(first.sequence);
        }
        let wait = LEASE_TIME + LATE_TIME_MAX;
        tracing::warn!(
            device = %self.address, wait_s = wait.as_secs(),
            "the last user of a network device has not let go of it; waiting until nothing can come from it any more"
        );
        let began = self.env.clock.now();
        while self.env.clock.now() - began < wait {
            self.env.clock.sleep(RENEW_PAUSE / 3).await;
            match self.read_claim().await? {
                Some(claim) if claim == first => {}
                Some(claim) if claim.is_held => return Err(ClaimError::Held { holder: claim.holder }.into()),
                Some(claim) => return Ok(claim.sequence),
                None => return Ok(first.sequence),
            }
        }
        Ok(first.sequence)
    }

    /// Renews the claim as long as the disk is open, by turns with the other cores.
    async fn renew_always(self: Rc<Self>, holder: u128) {
        loop {
            self.env.clock.sleep(RENEW_PAUSE / 3).await;
            if self.is_closing_or_lost() {
                return;
            }
            let left = self.remote.lease_until().saturating_sub(self.env.clock.now());
            if left + RENEW_PAUSE > LEASE_TIME || !self.remote.begin_claiming() {
                continue;
            }
            let renewed = self.renew(holder).await;
            self.remote.end_claiming();
            match renewed {
                Ok(()) => self.changed.raise(),
                Err(error) => self.lose(&format!("its claim could not be renewed: {error}")),
            }
        }
    }

    async fn renew(self: &Rc<Self>, holder: u128) -> io::Result<()> {
        match self.read_claim().await? {
            Some(claim) if claim.holder == holder && claim.is_held => {}
            Some(claim) => return Err(ClaimError::Held { holder: claim.holder }.into()),
            // Damaged, or erased on our own behalf; another holder would have written one.
            None => {}
        }
        let (began, sequence) = (self.env.clock.now(), self.remote.next_sequence());
        self.write_claim(Claim { holder, sequence, is_held: true }).await?;
        self.remote.renewed(began + LEASE_TIME, sequence);
        Ok(())
    }

    /// Lets go of the disk when this is the last disk of the process on it. Nothing of it may be on its way.
    pub async fn let_go(self: &Rc<Self>) {
        if !self.is_held() || self.remote.holders.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        while !self.remote.begin_claiming() {
            self.env.clock.sleep(Duration::from_millis(10)).await;
        }
        let holder = self.remote.holder(|| self.env.random.next_u128());
        if let Err(error) = self.release(holder).await {
            tracing::warn!(device = %self.address, %error, "the claim on a network device was not given back; who opens it next waits");
        }
        self.remote.unclaim();
        self.remote.end_claiming();
    }

    /// A claim that is not there any more was erased with the pool: then there is none to give back.
    async fn release(self: &Rc<Self>, holder: u128) -> io::Result<()> {
        let ours = self.read_claim().await?.filter(|claim| claim.holder == holder);
        if ours.is_some() && !self.remote.is_haunted(self.env.clock.now()) {
            let sequence = self.remote.next_sequence();
            self.write_claim(Claim { holder, sequence, is_held: false }).await?;
            self.flush_claim().await?;
        }
        Ok(())
    }
}
