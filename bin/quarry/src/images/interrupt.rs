//! Ctrl-C, SIGTERM and a closed terminal: noted, so that what was begun can be taken away before the command ends.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::failure::{Exit, Failure};

/// Whether the command shall end. Clones tell the same.
#[derive(Clone)]
pub struct Interrupt {
    is_requested: watch::Receiver<bool>,
}

impl Interrupt {
    /// From now on the signals are noted instead of ending the process.
    pub fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::local("cannot listen for signals", &error));
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let signals = kinds.map(listen);
        let [interrupt, terminate, hangup] = signals;
        let (sender, is_requested) = watch::channel(false);
        tokio::spawn(first(interrupt?, terminate?, hangup?, sender));
        Ok(Self { is_requested })
    }

    /// Waits until a signal has come, for ever if none does.
    pub async fn requested(&self) {
        let mut is_requested = self.is_requested.clone();
        if is_requested.wait_for(|&is_requested| is_requested).await.is_err() {
            std::future::pending().await
        }
    }

    /// Fails once a signal has come.
    pub fn check(&self) -> Result<(), Failure> {
        if *self.is_requested.borrow() { Err(interrupted()) } else { Ok(()) }
    }
}

async fn first(
    mut interrupt: Signal,
    mut terminate: Signal,
    mut hangup: Signal,
    sender: watch::Sender<bool>,
) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    sender.send_replace(true);
}

/// What the command ends with after a signal.
pub fn interrupted() -> Failure {
    Failure {
        exit: Exit::Interrupted,
        message: "interrupted".to_owned(),
        cause: None,
        next_step: "Run the command again; it begins anew.".to_owned(),
    }
}
