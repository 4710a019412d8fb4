//! Anchors: reading the newest of a log and writing the next.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::future::join_all;
use quarry_device::{Device, DeviceError};
use quarry_format::FormatError;
use quarry_format::anchor::{ANCHOR_BYTES, Anchor};
use quarry_format::label::{ANCHORS_PER_LOG, anchor_offset};
use quarry_types::LogId;
use quarry_types::limits::LOGS_MAX;

use crate::{OpenError, Pool, PoolError};

/// What stands in the place of an anchor on one device.
enum Found {
    /// An anchor of this pool.
    Anchor(Anchor),
    /// Nothing was ever written, or by another pool.
    Empty,
    /// It was written, and cannot be understood.
    Damaged(FormatError),
    /// The device does not read it.
    Unreadable(DeviceError),
}

impl Pool {
    /// For each log, its valid anchor with the highest sequence over all devices. Two have the same when a device that had got one as
    /// the only one was missing at the next opening: then what has been opened later counts.
    ///
    /// A log that has anchors of which none is valid is an error: to go on without it would give what it holds to others.
    pub(crate) async fn newest_anchors(&self) -> Result<BTreeMap<LogId, Anchor>, OpenError> {
        let devices = self.healthy_devices();
        let areas = join_all(devices.iter().map(|(_, device)| self.anchors_on(device))).await;
        let mut newest = BTreeMap::new();
        for log in (0..LOGS_MAX).map(LogId) {
            let all = anchors_of(log).flat_map(|place| areas.iter().map(move |area| &area[place]));
            let valid = all.filter_map(|found| match found {
                Found::Anchor(anchor) => Some(anchor),
                _ => None,
            });
            if let Some(anchor) = valid.max_by_key(|anchor| (anchor.sequence, anchor.incarnation)) {
                newest.insert(log, anchor.clone());
            } else if let Some(reason) = anchors_of(log).find_map(|place| wrong_at(&areas, place)) {
                return Err(OpenError::Anchors { pool: self.shared.name.clone(), log, reason });
            }
        }
        Ok(newest)
    }

    /// The anchors of a device, log by log. Where a part of them cannot be read the others can.
    async fn anchors_on(&self, device: &Device) -> Vec<Found> {
        let start = anchor_offset(LogId(0), 0);
        let count = usize::from(LOGS_MAX) * ANCHORS_PER_LOG;
        let buffer = self.env.buffers.allocate(count * ANCHOR_BYTES);
        if let Ok(area) = device.read(start, buffer).await {
            let places = area.chunks(ANCHOR_BYTES).enumerate();
            return places.map(|(place, bytes)| self.understand(place, bytes)).collect();
        }
        let mut all = Vec::with_capacity(count);
        for place in 0..count {
            let offset = start + (place * ANCHOR_BYTES) as u64;
            all.push(match device.read(offset, self.env.buffers.allocate(ANCHOR_BYTES)).await {
                Ok(bytes) => self.understand(place, &bytes),
                Err(error) => Found::Unreadable(error),
            });
        }
        all
    }

    fn understand(&self, place: usize, bytes: &[u8]) -> Found {
        match Anchor::decode(bytes) {
            Ok(anchor) if anchor.pool == self.shared.id && anchors_of(anchor.log).contains(&place) => {
                Found::Anchor(anchor)
            }
            Ok(_) => Found::Empty,
            Err(_) if bytes.iter().all(|&byte| byte == 0) => Found::Empty,
            Err(error) => Found::Damaged(error),
        }
    }

    /// Writes an anchor to every device in use and flushes them; whoever fails is out of use. Durable on return.
    pub(crate) async fn write_anchor(&self, anchor: &Anchor) -> Result<(), PoolError> {
        let view = self.env.buffers.copy_of(&anchor.encode());
        let offset = anchor_offset(anchor.log, (anchor.sequence % 2) as usize);
        let writes = self.healthy_devices().into_iter().map(async |(index, device)| {
            let result = match device.write(offset, vec![view.clone()]).await {
                Ok(()) => device.flush().await,
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => true,
                Err(error) => {
                    self.shared.fail_device(index, format!("anchor could not be written: {error}"));
                    false
                }
            }
        });
        let written = join_all(writes).await.into_iter().filter(|&done| done).count();
        if written == 0 { Err(PoolError::NoDevice { log: anchor.log }) } else { Ok(()) }
    }
}

/// What is wrong in a place where every device had something once. What only some have was written there by mistake: anchors are written
/// to all devices.
fn wrong_at(areas: &[Vec<Found>], place: usize) -> Option<String> {
    let mut wrong = None;
    for area in areas {
        match &area[place] {
            Found::Empty => return None,
            Found::Damaged(error) => wrong = Some(error.to_string()),
            Found::Unreadable(error) => wrong = wrong.or_else(|| Some(error.to_string())),
            Found::Anchor(_) => {}
        }
    }
    wrong
}

/// Which of all places on a device are those of a log.
fn anchors_of(log: LogId) -> Range<usize> {
    let first = usize::from(log.0) * ANCHORS_PER_LOG;
    first..first + ANCHORS_PER_LOG
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use quarry_device::{FormatRequest, format_devices};
    use quarry_env_sim::{Config, DiskSpec, FaultKind, Verb, World};
    use quarry_types::{Incarnation, PoolId, Protection};

    use super::*;

    #[test]
    fn of_two_anchors_with_one_sequence_that_of_the_later_opening_counts() {
        let world = World::new(1, Config::default());
        let paths: Vec<PathBuf> = (0..2).map(|index| PathBuf::from(format!("/dev/{index}"))).collect();
        paths.iter().for_each(|path| _ = world.add_disk(path, DiskSpec::of_size(64 << 20)));
        let request = FormatRequest {
            pool: PoolId::from_random(3),
            pool_name: "tank".to_owned(),
            protection: Protection::Copies(2),
            paths,
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let process = world.process(1);
        let env = process.env(0);
        let test = async move {
            let pool = crate::from_devices(&env, format_devices(&env, &request).await.expect("blank disks"));
            let anchor = |log: u16, sequence: u64, opening: u64| Anchor {
                pool: pool.shared.id,
                log: LogId(log),
                sequence,
                incarnation: Incarnation(opening),
                image_bytes: 0,
                image_checksum: 0,
                chunks: Vec::new(),
            };
            for (log, first) in [(0, 0), (1, 1)] {
                pool.write_anchor(&anchor(log, 3, 1)).await.expect("both");
                // The power failed when one device had the next anchor; that one was missing when the log was opened again.
                for (device, opening) in [(first, 2), (1 - first, 3)] {
                    let other = pool.device(1 - device);
                    pool.set_device(1 - device, None);
                    pool.write_anchor(&anchor(log, 4, opening)).await.expect("one");
                    pool.set_device(1 - device, other);
                }
                let newest = pool.newest_anchors().await.expect("they are whole");
                assert_eq!(newest[&LogId(log)], anchor(log, 4, 3), "first {first}");
            }
        };
        world.block_on(&process, 0, test, Duration::from_secs(60)).expect("it comes to an end");
    }

    /// What a pool over two devices finds after `damage`, with anchors of two commits of log 3.
    fn found_after(
        damage: impl Fn(&World, [quarry_env_sim::DiskId; 2]),
        copies: usize,
    ) -> Result<usize, String> {
        let world = World::new(2, Config::default());
        let paths: Vec<PathBuf> = (0..copies).map(|index| PathBuf::from(format!("/dev/{index}"))).collect();
        let disks: Vec<_> =
            paths.iter().map(|path| world.add_disk(path, DiskSpec::of_size(64 << 20))).collect();
        let pool = PoolId::from_random(3);
        let request = FormatRequest {
            pool,
            pool_name: "tank".to_owned(),
            protection: Protection::Copies(copies as u8),
            paths: paths.clone(),
            directory_file_bytes: None,
            force: false,
            in_use: BTreeMap::new(),
        };
        let process = world.process(1);
        let env = process.env(0);
        let make = async move {
            let pool = crate::from_devices(&env, format_devices(&env, &request).await.expect("blank disks"));
            for sequence in [1, 2] {
                let anchor = Anchor {
                    pool: pool.shared.id,
                    log: LogId(3),
                    sequence,
                    incarnation: Incarnation(1),
                    image_bytes: 0,
                    image_checksum: 0,
                    chunks: Vec::new(),
                };
                pool.write_anchor(&anchor).await.expect("all");
            }
        };
        world.block_on(&process, 0, make, Duration::from_secs(60)).expect("it comes to an end");
        world.kill(&process);
        damage(&world, [disks[0], disks[copies - 1]]);
        let process = world.process(1);
        let env = process.env(0);
        let look = async move {
            let members = quarry_device::open_members(&env, pool, &paths).await.expect("labels are whole");
            let found = crate::from_devices(&env, members.devices).newest_anchors().await;
            found.map(|anchors| anchors.len()).map_err(|error| error.to_string())
        };
        world.block_on(&process, 0, look, Duration::from_secs(60)).expect("it comes to an end")
    }

    fn place(log: u16, which: usize) -> u64 {
        anchor_offset(LogId(log), which)
    }

    #[test]
    fn a_log_whose_anchors_are_all_damaged_is_missed() {
        let both = |log: u16| {
            move |world: &World, disks: [quarry_env_sim::DiskId; 2]| {
                for (disk, which) in disks.into_iter().flat_map(|disk| [(disk, 0), (disk, 1)]) {
                    world.poke(disk, place(log, which) + 20, b"damage");
                }
            }
        };
        for copies in [1, 2] {
            assert_eq!(found_after(|_, _| {}, copies), Ok(1));
            let missed = found_after(both(3), copies).expect_err("its anchors cannot be read");
            assert!(missed.contains("log 3") && missed.contains("damaged"), "{missed}");
            // One is enough.
            let but_one = |world: &World, disks: [quarry_env_sim::DiskId; 2]| {
                world.poke(disks[0], place(3, 0) + 20, b"damage");
                world.poke(disks[1], place(3, 0) + 20, b"damage");
            };
            assert_eq!(found_after(but_one, copies), Ok(1));
        }
        // What came to one of two devices by mistake is no log.
        assert_eq!(found_after(|world, disks| world.poke(disks[0], place(9, 0), b"stray"), 2), Ok(1));
        assert!(found_after(|world, disks| world.poke(disks[0], place(9, 0), b"stray"), 1).is_err());
    }

    #[test]
    fn a_sector_that_cannot_be_read_hides_no_other_anchor() {
        let unreadable = |world: &World, disks: [quarry_env_sim::DiskId; 2]| {
            let range = place(20, 0)..place(20, 0) + 512;
            world.script_fault(disks[0], FaultKind::ReadError, Verb::Read, range.clone(), 0);
            world.script_fault(disks[0], FaultKind::ReadError, Verb::Read, range, 0);
        };
        let found = found_after(unreadable, 1);
        assert!(found.as_ref().is_err_and(|error| error.contains("log 20")), "{found:?}");
        assert_eq!(found_after(unreadable, 2), Ok(1), "the other device says that nothing was there");
    }
}
