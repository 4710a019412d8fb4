//! NVMe on the wire: entries, structures, names and numbers of NVM Express Base 2.0 and the NVM command set 1.0, and the PDUs of
//! the NVMe TCP transport specification 1.0. For the controller that a node is, and for the host that it is to other controllers.

pub mod bytes;
mod command;
pub mod constants;
pub mod digest;
pub mod pdu;
pub mod property;
mod status;

pub use command::{
    COMMAND_BYTES, COMPLETION_BYTES, CONNECT_DATA_BYTES, Command, CommandBuilder, CompletionEntry,
    DataPointer, Fuse, connect_data, text_at,
};
pub use status::Status;
