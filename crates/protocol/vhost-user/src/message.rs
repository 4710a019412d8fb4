//! Messages of the control socket (vhost-user.rst, "Message Specification"). Little-endian, as on every machine that we run on.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a front end asks for (vhost-user.rst, "Front-end message types").
pub(crate) mod requests {
    pub(crate) const GET_FEATURES: u32 = 1;
    pub(crate) const SET_FEATURES: u32 = 2;
    pub(crate) const SET_OWNER: u32 = 3;
    pub(crate) const RESET_OWNER: u32 = 4;
    pub(crate) const SET_MEM_TABLE: u32 = 5;
    pub(crate) const SET_VRING_NUM: u32 = 8;
    pub(crate) const SET_VRING_ADDR: u32 = 9;
    pub(crate) const SET_VRING_BASE: u32 = 10;
    pub(crate) const GET_VRING_BASE: u32 = 11;
    pub(crate) const SET_VRING_KICK: u32 = 12;
    pub(crate) const SET_VRING_CALL: u32 = 13;
    pub(crate) const SET_VRING_ERR: u32 = 14;
    pub(crate) const GET_PROTOCOL_FEATURES: u32 = 15;
    pub(crate) const SET_PROTOCOL_FEATURES: u32 = 16;
    pub(crate) const GET_QUEUE_NUM: u32 = 17;
    pub(crate) const SET_VRING_ENABLE: u32 = 18;
    pub(crate) const SET_BACKEND_REQ_FD: u32 = 21;
    pub(crate) const GET_CONFIG: u32 = 24;
    pub(crate) const SET_CONFIG: u32 = 25;
    pub(crate) const GET_INFLIGHT_FD: u32 = 31;
    pub(crate) const SET_INFLIGHT_FD: u32 = 32;
    pub(crate) const RESET_DEVICE: u32 = 34;
    pub(crate) const GET_MAX_MEM_SLOTS: u32 = 36;
    pub(crate) const ADD_MEM_REG: u32 = 37;
    pub(crate) const REM_MEM_REG: u32 = 38;
}

/// `VHOST_USER_BACKEND_CONFIG_CHANGE_MSG`: what we tell a front end.
const CONFIG_CHANGED: u32 = 2;

const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;
/// In place of a file with a queue: there is none.
const NO_FILE: u64 = 1 << 8;
const QUEUE_MASK: u64 = 0xff;

/// In front of every message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    pub(crate) request: u32,
    pub(crate) flags: u32,
    pub(crate) payload_bytes: u32,
}

pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

impl Header {
    /// Whether it is the header of a request of the protocol's only version.
    pub(crate) fn is_request(&self) -> bool {
        self.flags & VERSION_MASK == VERSION && self.flags & REPLY == 0
    }

    /// Whether the front end waits for an answer to a message that has none of its own, if that was agreed on.
    pub(crate) fn needs_reply(&self) -> bool {
        self.flags & NEED_REPLY != 0
    }
}

fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { request, flags: VERSION | flags, payload_bytes: payload.len() as u32 };
    [header.as_bytes(), payload].concat()
}

/// The answer to a request.
pub(crate) fn reply(request: u32, payload: &[u8]) -> Vec<u8> {
    message(request, REPLY, payload)
}

/// That the configuration space has changed.
pub(crate) fn config_changed() -> Vec<u8> {
    message(CONFIG_CHANGED, 0, &[])
}

/// A queue, and a number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct QueueState {
    pub(crate) index: u32,
    pub(crate) number: u32,
}

/// Where the rings of a queue are, as the front end addresses its own memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct QueueAddresses {
    pub(crate) index: u32,
    pub(crate) flags: u32,
    pub(crate) descriptors: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
    pub(crate) log: u64,
}

/// A piece of the front end's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MemoryRegion {
    /// As the guest addresses it.
    pub(crate) guest_address: u64,
    pub(crate) bytes: u64,
    /// As the front end addresses it.
    pub(crate) user_address: u64,
    /// Where it begins in its file.
    pub(crate) file_offset: u64,
}

/// One piece of memory in a message of its own.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct OneRegion {
    padding: u64,
    pub(crate) region: MemoryRegion,
}

/// The head of a message about the configuration space; its bytes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ConfigPart {
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) flags: u32,
}

/// Memory for requests in flight.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct InFlightMemory {
    pub(crate) bytes: u64,
    pub(crate) file_offset: u64,
    pub(crate) queues: u16,
    pub(crate) queue_size: u16,
    /// Missing from the protocol's text, and there in what QEMU sends.
    pub(crate) padding: u32,
}

/// What [`InFlightMemory`] has without its padding.
pub(crate) const IN_FLIGHT_BYTES_MIN: usize = 20;

/// The queue that a file is for, and whether there is one.
pub(crate) fn queue_of_file(number: u64) -> (u64, bool) {
    (number & QUEUE_MASK, number & NO_FILE == 0)
}

/// The regions of a table of memory; `None` when its length is not what it says.
pub(crate) fn regions(payload: &[u8]) -> Option<Vec<MemoryRegion>> {
    let (head, rest) = payload.split_at_checked(8)?;
    let count = u32::read_from_prefix(head).ok()?.0 as usize;
    // QEMU sends the whole of its table, filled or not.
    let used = rest.get(..count.checked_mul(size_of::<MemoryRegion>())?)?;
    used.chunks_exact(size_of::<MemoryRegion>())
        .map(|bytes| MemoryRegion::read_from_bytes(bytes).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_lengths_of_the_protocol() {
        assert_eq!((HEADER_BYTES, size_of::<QueueState>(), size_of::<QueueAddresses>()), (12, 8, 40));
        assert_eq!(
            (size_of::<MemoryRegion>(), size_of::<OneRegion>(), size_of::<ConfigPart>()),
            (32, 40, 12)
        );
        assert_eq!(size_of::<InFlightMemory>(), 24);
    }

    #[test]
    fn a_table_is_as_long_as_it_says() {
        let table = |count: u32, bytes: usize| [&count.to_le_bytes()[..], &vec![1; 4 + bytes]].concat();
        assert_eq!(regions(&table(2, 64)).map(|regions| regions.len()), Some(2));
        assert_eq!(regions(&table(0, 256)).map(|regions| regions.len()), Some(0));
        for (count, bytes) in [(2, 63), (1, 0), (u32::MAX, 256)] {
            assert_eq!(regions(&table(count, bytes)), None, "{count} in {bytes}");
        }
        assert_eq!(regions(&[0; 7]), None);
    }
}
