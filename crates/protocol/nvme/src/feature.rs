//! Features (NVMe Base 2.0, 5.27): what a host may ask for and set. The values that are nothing but kept.

use crate::controller::Kind;
use quarry_nvme_wire::Status;
use quarry_nvme_wire::constants::feature;

const IO_FEATURES: [u8; 13] = [
    feature::ARBITRATION,
    feature::POWER,
    feature::TEMPERATURE,
    feature::ERROR_RECOVERY,
    feature::WRITE_CACHE,
    feature::QUEUES,
    feature::WRITE_ATOMICITY,
    feature::EVENTS,
    feature::KEEP_ALIVE,
    feature::HOST_BEHAVIOR,
    feature::HOST_ID,
    feature::RESERVATION_MASK,
    feature::RESERVATION_PERSISTENCE,
];
const DISCOVERY_FEATURES: [u8; 3] = [feature::EVENTS, feature::KEEP_ALIVE, feature::HOST_ID];

/// The features of a kind of controller.
pub(crate) fn features_of(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Io => &IO_FEATURES,
        Kind::Discovery => &DISCOVERY_FEATURES,
    }
}

/// Bytes of Host Behavior Support.
pub(crate) const HOST_BEHAVIOR_BYTES: usize = 512;
/// The temperature threshold before somebody sets one: the highest there is, in kelvins.
const THRESHOLD_DEFAULT: u32 = 0xFFFF;

/// Features whose only effect is that they can be read again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    arbitration: u32,
    threshold_over: u32,
    threshold_under: u32,
    error_recovery: u32,
    write_atomicity: u32,
    pub(crate) host_behavior: [u8; HOST_BEHAVIOR_BYTES],
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            arbitration: 0,
            threshold_over: THRESHOLD_DEFAULT,
            threshold_under: 0,
            error_recovery: 0,
            write_atomicity: 0,
            host_behavior: [0; HOST_BEHAVIOR_BYTES],
        }
    }
}

impl Kept {
    /// The value, of a feature that has nothing but a value.
    pub(crate) fn get(&self, feature: u8, argument: u32) -> Option<u32> {
        Some(match feature {
            feature::ARBITRATION => self.arbitration,
            // One power state.
            feature::POWER => 0,
            feature::TEMPERATURE if is_under(argument) => self.threshold_under,
            feature::TEMPERATURE => self.threshold_over,
            feature::ERROR_RECOVERY => self.error_recovery,
            feature::WRITE_ATOMICITY => self.write_atomicity,
            _ => return None,
        })
    }

    /// Keeps a value; `None` for a feature that has more than that.
    pub(crate) fn set(&mut self, feature: u8, value: u32) -> Option<Result<(), Status>> {
        match feature {
            feature::ARBITRATION => self.arbitration = value,
            feature::POWER if value & 0x1F != 0 => return Some(Err(Status::INVALID_FIELD)),
            feature::POWER => {}
            // Only the composite sensor, or all of them, can be set.
            feature::TEMPERATURE if !matches!(value >> 16 & 0xF, 0 | 0xF) || value >> 20 & 3 > 1 => {
                return Some(Err(Status::INVALID_FIELD));
            }
            feature::TEMPERATURE if is_under(value) => self.threshold_under = value & 0xFFFF,
            feature::TEMPERATURE => self.threshold_over = value & 0xFFFF,
            // Errors on deallocated blocks (DULBE) are not offered.
            feature::ERROR_RECOVERY if value & 1 << 16 != 0 => return Some(Err(Status::INVALID_FIELD)),
            feature::ERROR_RECOVERY => self.error_recovery = value & 0xFFFF,
            feature::WRITE_ATOMICITY => self.write_atomicity = value & 1,
            _ => return None,
        }
        Some(Ok(()))
    }
}

/// Whether a temperature threshold is the lower one (THSEL).
fn is_under(argument: u32) -> bool {
    argument >> 20 & 3 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again() {
        let mut kept = Kept::default();
        let table = [
            (feature::ARBITRATION, 7, 0, 7),
            (feature::TEMPERATURE, 0x0000_0160, 0, 0x160),
            (feature::TEMPERATURE, 0x0010_0100, 1 << 20, 0x100),
            (feature::ERROR_RECOVERY, 20, 0, 20),
            (feature::WRITE_ATOMICITY, 1, 0, 1),
            (feature::POWER, 0, 0, 0),
        ];
        for (feature, value, argument, read) in table {
            assert_eq!(kept.set(feature, value), Some(Ok(())), "{feature}");
            assert_eq!(kept.get(feature, argument), Some(read), "{feature}");
        }
        assert_eq!(kept.get(feature::TEMPERATURE, 0), Some(0x160));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        let mut kept = Kept::default();
        for (feature, value) in
            [(feature::POWER, 1), (feature::TEMPERATURE, 1 << 16), (feature::ERROR_RECOVERY, 1 << 16)]
        {
            assert_eq!(kept.set(feature, value), Some(Err(Status::INVALID_FIELD)), "{feature}");
        }
        assert!(kept.set(feature::QUEUES, 0).is_none());
    }
}
