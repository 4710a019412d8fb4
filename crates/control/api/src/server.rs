//! A server with bounds: connections, time for a request's head, time to stop.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use quarry_node_api::Node;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::limits::{CONNECTIONS_MAX, HEAD_TIMEOUT, STOP_TIMEOUT};

/// How long to wait after a failed accept, which mostly means that the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves the API of `node` on `listener` until `stop` is ready; then takes nothing new, lets running requests
/// end, up to [`STOP_TIMEOUT`], and returns. Calls to the node whose client has hung up may outlive it.
pub async fn serve(listener: TcpListener, node: Arc<dyn Node>, stop: impl Future<Output = ()>) {
    let router = crate::router(node);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
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
            Ok((stream, _)) => {
                let served = graceful.watch(connection(stream, &router));
                tokio::spawn(async move {
                    // A connection that breaks is its client's affair.
                    let _ = served.await;
                    drop(permit);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            "API requests were still running after {} s; stopping without them",
            STOP_TIMEOUT.as_secs()
        );
    }
}

fn connection(
    stream: TcpStream,
    router: &Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Without this a small answer can wait 40 ms for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()))
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
