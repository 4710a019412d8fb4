//! The server of one core: a socket for each volume that is exported from here, and the front end that is connected to it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;

use futures::future::{Either, select};
use futures::lock::Mutex;
use quarry_env::{Address, Env, JoinHandle, Stream};
use quarry_target::{Budget, Exports, Reservations, Session, Volumes, accept};

use crate::config;
use crate::control::Control;
use crate::device::Device;
use crate::error::ControlError;
use crate::limits::{DATA_BYTES_MAX, SHARE, TURN_TIME_MAX};

/// Least memory of a core for requests: what one request may need.
pub const BUDGET_BYTES_MIN: u64 = DATA_BYTES_MAX as u64;

/// vhost-user-blk on one core.
pub struct Server {
    env: Env,
    exports: Exports,
    volumes: Rc<dyn Volumes>,
    reservations: Reservations,
    budget: Budget,
    /// What accepts connections, by export.
    listening: RefCell<BTreeMap<String, JoinHandle<()>>>,
}

impl Server {
    /// The server of the core of `env`. `exports` has nothing but what is served over vhost-user; its volumes' requests hold at
    /// most `budget_bytes`, which is raised to [`BUDGET_BYTES_MIN`] where it is less.
    pub fn new(
        env: Env,
        exports: Exports,
        volumes: Rc<dyn Volumes>,
        reservations: Reservations,
        budget_bytes: u64,
    ) -> Rc<Self> {
        let budget = Budget::new(budget_bytes.max(BUDGET_BYTES_MIN), SHARE);
        Rc::new(Self { env, exports, volumes, reservations, budget, listening: RefCell::default() })
    }

    /// Begins to serve `export`, whose volume this core owns, on a socket at `path`.
    ///
    /// # Errors
    /// When nobody can listen there.
    pub async fn open(self: &Rc<Self>, export: &str, path: PathBuf) -> io::Result<()> {
        let listener = self.env.network.listen(&Address::Unix(path)).await?;
        let (server, name) = (self.clone(), export.to_owned());
        let turn = Rc::new(Mutex::new(()));
        let accepting = async move {
            accept(&server.env, &server.exports, &*listener, |stream, session, _| {
                let served = server.clone().serve(name.clone(), stream, session, turn.clone());
                server.env.spawner.spawn(served).detach();
            })
            .await;
        };
        self.listening.borrow_mut().insert(export.to_owned(), self.env.spawner.spawn(accepting));
        Ok(())
    }

    /// Ends listening for `export`, and takes its socket away.
    pub fn close(&self, export: &str) {
        let accepting = self.listening.borrow_mut().remove(export);
        drop(accepting);
    }

    /// Serves a front end, when the one before it has gone. Two at once would do requests again that the other one still does.
    async fn serve(
        self: Rc<Self>,
        export: String,
        stream: Rc<dyn Stream>,
        session: Session,
        turn: Rc<Mutex<()>>,
    ) {
        let id = session.id();
        let turn = match select(turn.lock(), self.env.clock.sleep(TURN_TIME_MAX)).await {
            Either::Left((turn, _)) => turn,
            Either::Right(_) => {
                tracing::warn!(session = %id, "another front end uses the device; a second one was refused");
                stream.shutdown();
                return;
            }
        };
        match self.serve_alone(&export, &stream, session).await {
            Ok(()) => tracing::debug!(session = %id, "session ended"),
            Err(ControlError::Closed) => tracing::debug!(session = %id, "the front end has gone"),
            Err(error) => tracing::warn!(session = %id, %error, "session ended"),
        }
        stream.shutdown();
        drop(turn);
    }

    async fn serve_alone(
        &self,
        export: &str,
        stream: &Rc<dyn Stream>,
        session: Session,
    ) -> Result<(), ControlError> {
        let gone =
            || io::Error::new(io::ErrorKind::NotFound, "the export is gone, or its volume is not open");
        let export = session.bind(export).map_err(|_| gone())?;
        let volume = self.volumes.volume(export.volume.id).ok_or_else(gone)?;
        let reservations = self.reservations.of(export.volume.id);
        let stopped = session.stop().stopped();
        let device = Rc::new(Device {
            env: self.env.clone(),
            read_only: export.volume.read_only || volume.info().read_only,
            size_bytes: std::cell::Cell::new(volume.info().size_bytes),
            volume,
            member: reservations.attach_keyless(format_args!("vhost-user:{}", session.id())),
            share: self.budget.join(stream.clone()),
            serial: config::serial(export.volume.id),
            memory: RefCell::default(),
            features: std::cell::Cell::new(0),
            writeback: std::cell::Cell::new(true),
            session,
        });
        let mut control = Control::new(self.env.clone(), device);
        let ended = {
            let serving = pin!(control.serve(stream.clone(), || self.exports.resized()));
            match select(serving, stopped).await {
                Either::Left((ended, _)) => ended,
                Either::Right(_) => Ok(()),
            }
        };
        // What was begun is done before the next front end, which may ask for it again, has its turn.
        control.stop().await;
        ended
    }
}
