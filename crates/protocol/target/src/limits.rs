//! The bounds of what a node exports and whom it serves.

/// Most connections to one node, of all protocols, those that still negotiate among them.
pub const SESSIONS_MAX: usize = 4096;
/// Most exports of one node.
pub const EXPORTS_MAX: usize = quarry_types::limits::VOLUMES_MAX;
/// Most hosts of one node.
pub const HOSTS_MAX: usize = 4096;
/// Highest LUN or namespace id: what single-level LUNs of SAM-5 can say.
pub const UNIT_NUMBER_MAX: u32 = 16383;
/// Most initiators that are registered for reservations of one volume.
pub const REGISTRATIONS_MAX: usize = 256;
/// Longest name of an export, in bytes.
pub const EXPORT_NAME_BYTES_MAX: usize = 255;

const _: () = assert!(EXPORT_NAME_BYTES_MAX >= quarry_types::limits::NAME_BYTES_MAX);
