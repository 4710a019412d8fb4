//! A server with bounds: connections, time for a request's head, time to stop. One port for TLS and for plain HTTP; which of the
//! two a connection is, its first byte tells.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use quarry_node_api::Node;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt;

use crate::guard::Peer;
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HEAD_TIMEOUT, STOP_TIMEOUT};
use crate::{ApiTls, Guard};

/// How long to wait after a failed accept, which mostly means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// The first byte of a TLS connection: a handshake record (RFC 8446 section 5.1). No request begins so.
const TLS_HANDSHAKE: u8 = 22;

/// What is served, who guards it, and what it proves itself with.
#[derive(Clone)]
pub struct Service {
    /// What answers.
    pub node: Arc<dyn Node>,
    /// Who may ask.
    pub guard: Arc<Guard>,
    /// Without it only plain HTTP is spoken, and only with this machine.
    pub tls: Option<ApiTls>,
}

/// Serves the API on `listener` until `stop` is ready; then takes nothing new, lets running requests
/// end, up to [`STOP_TIMEOUT`], and returns. Calls to the node whose client has hung up may outlive it.
pub async fn serve(listener: TcpListener, service: Service, stop: impl Future<Output = ()>) {
    let Service { node, guard, tls } = service;
    let router = crate::router(node, guard);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let (stopping, is_stopping) = watch::channel(());
    let mut stop = pin!(stop);
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
                let (mut is_stopping, stopping) = (is_stopping.clone(), Stopping(is_stopping.clone()));
                tokio::spawn(async move {
                    // One that has not said yet what it is has no request that could end first.
                    let opened = tokio::select! {
                        opened = open(stream, tls) => opened,
                        _ = is_stopping.changed() => return,
                    };
                    // A connection that breaks is its client's affair.
                    let _ = match opened {
                        Ok(Opened::Clear(stream)) => {
                            let peer = Peer { address, is_encrypted: false };
                            requests(stream, (peer, stopping), router, watcher).await
                        }
                        Ok(Opened::Encrypted(stream)) => {
                            let peer = Peer { address, is_encrypted: true };
                            requests(*stream, (peer, stopping), router, watcher).await
                        }
                        Err(error) => Err(error),
                    };
                    drop(permit);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop((listener, stopping));
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "API requests were still running after {} s; stopping without them",
            STOP_TIMEOUT.as_secs()
        );
    }
}

/// Whether the server stops, for answers that would go on for ever.
#[derive(Clone)]
pub(crate) struct Stopping(watch::Receiver<()>);

impl Stopping {
    /// Waits until it does.
    pub(crate) async fn wait(&mut self) {
        // Nothing is ever sent: the other end is dropped.
        let _ = self.0.changed().await;
    }
}

/// A connection that has said what it is.
enum Opened {
    Clear(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

async fn open(stream: TcpStream, tls: Option<ApiTls>) -> io::Result<Opened> {
    // Without this a small answer can wait 40 ms for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let Some(ApiTls(acceptor)) = tls else { return Ok(Opened::Clear(stream)) };
    if !tokio::time::timeout(HEAD_TIMEOUT, is_tls(&stream)).await?? {
        return Ok(Opened::Clear(stream));
    }
    let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
    Ok(Opened::Encrypted(Box::new(stream)))
}

/// Whether a connection begins as TLS does.
async fn is_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let seen = stream.peek(&mut first).await?;
    Ok(seen == 1 && first[0] == TLS_HANDSHAKE)
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    (peer, stopping): (Peer, Stopping),
    router: Router,
    watcher: Watcher,
) -> io::Result<()> {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(stopping.clone());
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    watcher.watch(served).await.map_err(io::Error::other)
}

/// An aborted connection needs no pause; any other error would come again at once.
async fn pause_after(error: &io::Error) {
    let aborted = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !aborted {
        tracing::warn!(%error, "cannot accept an API connection");
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}
