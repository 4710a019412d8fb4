//! Asks the kernel for a ring with the best features that it grants.

use std::io;

use io_uring::IoUring;

/// Most threads that the kernel starts for a ring to do what would hold up who submits it. They exist only while there is so much to do.
const WORKERS_MAX: u32 = 1024;

/// Sizes of the two queues.
#[derive(Clone, Copy)]
pub(crate) struct QueueSizes {
    pub submission: u32,
    pub completion: u32,
}

/// A new ring of the calling thread, which alone may use it.
///
/// The first attempt runs completions only when this thread asks for them (`DEFER_TASKRUN`, Linux 6.1), the second
/// without interrupting it (`COOP_TASKRUN`, 5.19), the last as every kernel can.
pub(crate) fn build(sizes: QueueSizes) -> io::Result<IoUring> {
    let mut error = io::Error::from_raw_os_error(libc::EINVAL);
    for features in [Features::Deferred, Features::Cooperative, Features::Plain] {
        match attempt(sizes, features) {
            Ok(ring) => return Ok(ring),
            Err(refused) if refused.raw_os_error() == Some(libc::EINVAL) => error = refused,
            Err(other) => return Err(other),
        }
    }
    Err(error)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Features {
    Deferred,
    Cooperative,
    Plain,
}

fn attempt(sizes: QueueSizes, features: Features) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_cqsize(sizes.completion);
    if features != Features::Plain {
        builder.setup_submit_all().setup_coop_taskrun();
    }
    if features == Features::Deferred {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    let ring = builder.build(sizes.submission)?;
    // The kernel's own bound is a few for each CPU: the requests of one device that hangs would take them all, and then every device
    // whose requests need a worker hangs with it.
    let mut workers = [WORKERS_MAX, 0];
    // A kernel that does not know this keeps its own bound, and works.
    let _ = ring.submitter().register_iowq_max_workers(&mut workers);
    Ok(ring)
}
