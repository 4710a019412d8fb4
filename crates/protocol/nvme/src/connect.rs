//! The Connect command (NVMe Base 2.0, 6.3): what a host says when it opens a queue.

use quarry_nvme_wire::Status;
use quarry_nvme_wire::bytes::{u16_at, u32_at};
use quarry_nvme_wire::constants::NQN_BYTES;
use quarry_nvme_wire::{CONNECT_DATA_BYTES, Command, text_at};

/// The controller id by which a host leaves the choice to the subsystem.
pub const ANY_CONTROLLER: u16 = 0xFFFF;

/// Offsets in the command and its data, which an answer points to when they are wrong.
mod offset {
    pub const QUEUE: usize = 42;
    pub const ENTRIES: usize = 44;
    pub const ATTRIBUTES: usize = 46;
    pub const KEEP_ALIVE: usize = 48;
    pub const HOST_ID: usize = 0;
    pub const CONTROLLER: usize = 16;
    pub const SUBSYSTEM: usize = 256;
    pub const HOST: usize = 512;
}

/// A connect that was refused, and what is wrong with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub status: Status,
    /// Dword 0 of the answer: which parameter is wrong.
    pub result: u64,
}

impl Refused {
    /// Refused as a whole.
    pub fn because(status: Status) -> Self {
        Self { status, result: 0 }
    }

    fn command(at: usize) -> Self {
        Self { status: Status::CONNECT_PARAMETERS, result: at as u64 }
    }

    fn data(at: usize) -> Self {
        Self { status: Status::CONNECT_PARAMETERS, result: at as u64 | 1 << 16 }
    }

    /// The controller id is wrong.
    pub fn controller() -> Self {
        Self::data(offset::CONTROLLER)
    }

    /// The subsystem's name is wrong.
    pub fn subsystem() -> Self {
        Self::data(offset::SUBSYSTEM)
    }

    /// The host's name is wrong, or another one than the controller's.
    pub fn host() -> Self {
        Self::data(offset::HOST)
    }

    /// The host's identifier is another host's.
    pub fn host_id() -> Self {
        Self::data(offset::HOST_ID)
    }

    /// The queue id is wrong.
    pub fn queue() -> Self {
        Self::command(offset::QUEUE)
    }

    /// The number of entries is wrong.
    pub fn entries() -> Self {
        Self::command(offset::ENTRIES)
    }
}

/// What a host says when it opens a queue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connect {
    /// The command's id, which the answer repeats.
    pub command: u16,
    /// 0 for the admin queue.
    pub queue: u16,
    /// How many commands the host has under way at most.
    pub entries: u16,
    /// Whether the host does without the head of the submission queue in completions.
    pub without_flow_control: bool,
    /// Longest silence of an admin queue, in milliseconds; 0 for any.
    pub keep_alive_ms: u32,
    /// The host's id.
    pub host_id: [u8; 16],
    /// The controller that the queue belongs to.
    pub controller: u16,
    /// The subsystem's name.
    pub subsystem: String,
    /// The host's name.
    pub host: String,
}

impl Connect {
    /// What `command` with `data` says.
    pub fn decode(command: &Command, data: &[u8]) -> Result<Self, Refused> {
        let fields = command.bytes();
        if u16_at(fields, 40) != 0 {
            return Err(Refused::because(Status::CONNECT_FORMAT));
        }
        if data.len() != CONNECT_DATA_BYTES {
            return Err(Refused::because(Status::SGL_LENGTH));
        }
        let entries = u16_at(fields, offset::ENTRIES).checked_add(1).filter(|&entries| entries > 1);
        Ok(Self {
            command: command.id(),
            queue: u16_at(fields, offset::QUEUE),
            entries: entries.ok_or(Refused::entries())?,
            without_flow_control: fields[offset::ATTRIBUTES] & 1 << 2 != 0,
            keep_alive_ms: u32_at(fields, offset::KEEP_ALIVE),
            host_id: data[..16].try_into().expect("16 bytes"),
            controller: u16_at(data, offset::CONTROLLER),
            subsystem: name(data, offset::SUBSYSTEM).ok_or(Refused::subsystem())?,
            host: name(data, offset::HOST).ok_or(Refused::host())?,
        })
    }
}

/// An NVMe qualified name; it has no control characters, as it is shown to people.
fn name(data: &[u8], at: usize) -> Option<String> {
    let text = text_at(data, at, NQN_BYTES)?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_nvme_wire::constants::fabrics;
    use quarry_nvme_wire::{CommandBuilder, connect_data};

    fn command() -> CommandBuilder {
        CommandBuilder::fabrics(fabrics::CONNECT, 7).dword(10, 3 << 16).dword(11, 127).dword(12, 5000)
    }

    #[test]
    fn what_a_host_says_is_understood() {
        let data = connect_data([9; 16], 0xFFFF, "nqn.sub", "nqn.host");
        let connect = Connect::decode(&command().build(), &data).unwrap();
        assert_eq!((connect.command, connect.queue, connect.entries), (7, 3, 128));
        assert_eq!((connect.keep_alive_ms, connect.without_flow_control), (5000, false));
        assert_eq!((connect.host_id, connect.controller), ([9; 16], 0xFFFF));
        assert_eq!((connect.subsystem.as_str(), connect.host.as_str()), ("nqn.sub", "nqn.host"));
        let without = Connect::decode(&command().byte(46, 4).build(), &data).unwrap();
        assert!(without.without_flow_control);
    }

    #[test]
    fn what_is_wrong_is_pointed_to() {
        let good = connect_data([9; 16], 0xFFFF, "nqn.sub", "nqn.host");
        let endless = connect_data([9; 16], 0xFFFF, &"x".repeat(256), "nqn.host");
        let nameless = connect_data([9; 16], 0xFFFF, "nqn.sub", "");
        let unclean = connect_data([9; 16], 0xFFFF, "nqn.sub", "a\u{1b}[2J");
        let table = [
            (command().byte(40, 1), &good[..], Refused::because(Status::CONNECT_FORMAT)),
            (command(), &good[..512], Refused::because(Status::SGL_LENGTH)),
            (command().dword(11, 0), &good[..], Refused::entries()),
            (command().dword(11, 0xFFFF), &good[..], Refused::entries()),
            (command(), &endless[..], Refused::subsystem()),
            (command(), &nameless[..], Refused::host()),
            (command(), &unclean[..], Refused::host()),
        ];
        for (index, (command, data, refused)) in table.into_iter().enumerate() {
            assert_eq!(Connect::decode(&command.build(), data), Err(refused), "{index}");
        }
    }
}
