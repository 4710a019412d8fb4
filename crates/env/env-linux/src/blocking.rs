//! Rare calls that may block, on a thread of their own.

use std::io;

use futures::channel::oneshot;

/// Runs `work` on a short-lived thread and returns its result. The thread goes on when the future is dropped.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("quarry-blocking".to_owned()).spawn(move || {
        // Nobody receives when the task that asked has been dropped.
        let _ = sender.send(work());
    })?;
    receiver.await.map_err(|_| io::Error::other("a blocking call panicked"))
}
