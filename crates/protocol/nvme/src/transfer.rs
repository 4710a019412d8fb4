//! Which way the data of a command goes.

use quarry_nvme_wire::DataPointer;
use quarry_nvme_wire::Status;

/// The data that a command moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transfer {
    /// None.
    None,
    /// The controller sends this many bytes, if the command succeeds.
    ToHost(u32),
    /// The host sends this many bytes.
    FromHost(u32),
}

impl Transfer {
    /// Whether what the host says of its data fits.
    pub fn check(self, pointer: Result<DataPointer, Status>) -> Result<(), Status> {
        match (self, pointer) {
            // What a command does not use is not looked at.
            (Self::None, _) => Ok(()),
            (_, Err(status)) => Err(status),
            (Self::ToHost(_), Ok(DataPointer::Capsule { .. })) => Err(Status::SGL_TYPE),
            (Self::ToHost(bytes), Ok(pointer)) if pointer.length() < bytes => Err(Status::SGL_LENGTH),
            (Self::FromHost(bytes), Ok(pointer)) if pointer.length() != bytes => Err(Status::SGL_LENGTH),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_the_length_that_its_command_says() {
        let host = |length| Ok(DataPointer::Host { length });
        let capsule = |length| Ok(DataPointer::Capsule { length });
        let table = [
            (Transfer::None, Err(Status::SGL_TYPE), Ok(())),
            (Transfer::ToHost(512), host(512), Ok(())),
            (Transfer::ToHost(512), host(1024), Ok(())),
            (Transfer::ToHost(512), host(511), Err(Status::SGL_LENGTH)),
            (Transfer::ToHost(512), capsule(512), Err(Status::SGL_TYPE)),
            (Transfer::FromHost(512), capsule(512), Ok(())),
            (Transfer::FromHost(512), host(513), Err(Status::SGL_LENGTH)),
            (Transfer::FromHost(512), Err(Status::SGL_OFFSET), Err(Status::SGL_OFFSET)),
        ];
        for (index, (transfer, pointer, verdict)) in table.into_iter().enumerate() {
            assert_eq!(transfer.check(pointer), verdict, "{index}");
        }
    }
}
