//! Taking in connections, the same way for every protocol.

use std::rc::Rc;

use futures::future::{Either, select};
use quarry_env::{Env, Listener, Stream};

use crate::limits::ACCEPT_PAUSE;
use crate::{Exports, Session};

/// Accepts connections until [`Exports::stop`] is called, and hands those that are admitted to `begin`, with the name of the peer.
pub async fn accept(
    env: &Env,
    exports: &Exports,
    listener: &dyn Listener,
    begin: impl Fn(Rc<dyn Stream>, Session, String),
) {
    let mut pause = ACCEPT_PAUSE.0;
    let mut stopped = exports.stop_signal().stopped();
    loop {
        let accepted = match select(listener.accept(), stopped).await {
            Either::Left((accepted, still)) => {
                stopped = still;
                accepted
            }
            Either::Right(_) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE.0;
                match exports.admit(peer.clone()) {
                    Ok(session) => begin(stream, session, peer),
                    Err(error) => {
                        tracing::warn!(%error, "a connection was refused");
                        stream.shutdown();
                    }
                }
            }
            Err(error) => {
                // File descriptors may have run out, which others must free: longer each time.
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "cannot accept connections");
                env.clock.sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}
