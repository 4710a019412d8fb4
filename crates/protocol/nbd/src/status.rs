//! Errors in the words of the protocol (proto.md, "Error values").

use quarry_volume::ErrorKind;

/// The error values that the protocol defines. `NBD_ENOMEM` is missing: proto.md asks servers not to return it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Errno {
    /// `NBD_EPERM`: the export is read-only, or another host has reserved the volume.
    NotPermitted = 1,
    /// `NBD_EIO`.
    Io = 5,
    /// `NBD_EINVAL`: the request is wrong.
    Invalid = 22,
    /// `NBD_ENOSPC`: no room, or a write behind the end.
    NoSpace = 28,
    /// `NBD_EOVERFLOW`: a read larger than the largest payload.
    Overflow = 75,
    /// `NBD_ENOTSUP`: a fast zero request that would not be fast; nothing else.
    NotSupported = 95,
    /// `NBD_ESHUTDOWN`: the client is to disconnect.
    Shutdown = 108,
}

/// What a client is told about a failure of the volume.
///
/// [`ErrorKind::Fenced`] becomes `ESHUTDOWN`, which makes the client disconnect: a new connection finds the new owner.
/// [`ErrorKind::Unsupported`] is `ENOTSUP` for a fast zero request only, as proto.md demands.
pub fn errno(kind: ErrorKind, fast_zero: bool) -> Errno {
    match kind {
        ErrorKind::Invalid => Errno::Invalid,
        ErrorKind::ReadOnly => Errno::NotPermitted,
        ErrorKind::NoSpace => Errno::NoSpace,
        ErrorKind::Corrupt | ErrorKind::Unavailable | ErrorKind::Internal => Errno::Io,
        ErrorKind::Fenced => Errno::Shutdown,
        ErrorKind::Unsupported if fast_zero => Errno::NotSupported,
        ErrorKind::Unsupported => Errno::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_errno() {
        let table = [
            (ErrorKind::Invalid, 22, 22),
            (ErrorKind::ReadOnly, 1, 1),
            (ErrorKind::NoSpace, 28, 28),
            (ErrorKind::Corrupt, 5, 5),
            (ErrorKind::Unavailable, 5, 5),
            (ErrorKind::Fenced, 108, 108),
            (ErrorKind::Unsupported, 22, 95),
            (ErrorKind::Internal, 5, 5),
        ];
        assert_eq!(table.map(|(kind, _, _)| kind), ErrorKind::ALL);
        for (kind, plain, fast_zero) in table {
            assert_eq!(errno(kind, false) as u32, plain, "{kind:?}");
            assert_eq!(errno(kind, true) as u32, fast_zero, "{kind:?}");
        }
    }
}
