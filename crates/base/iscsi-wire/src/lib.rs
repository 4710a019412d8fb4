//! iSCSI on the wire: headers, names and numbers of RFC 7143, and its digests. For the target that a node is, and for the initiator
//! that it is to other targets.

pub mod digest;
pub mod pdu;
