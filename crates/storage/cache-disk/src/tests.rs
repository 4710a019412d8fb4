//! Who gets which region.

use quarry_format::cache_disk::CacheRegion;
use quarry_types::{Incarnation, LogId, PoolId};

use crate::Owner;
use crate::directory::Directory;

fn owner(log: u16) -> Owner {
    Owner { pool: PoolId::from_random(1), log: LogId(log) }
}

fn table(log: u16, sequence: u64) -> Option<CacheRegion> {
    let Owner { pool, log } = owner(log);
    let incarnation = Incarnation(1);
    Some(CacheRegion { disk: 1, pool, log, incarnation, sequence, entries: 0, entries_checksum: 0 })
}

#[test]
fn the_oldest_region_of_all_makes_room() {
    let mut directory = Directory::new(&[None, None, None]);
    let (one, two) = (owner(1), owner(2));
    assert!(directory.attach(one).is_empty() && directory.attach(two).is_empty());
    assert_eq!(directory.take(one), Some((0, 1)));
    assert_eq!(directory.take(two), Some((1, 2)));
    assert_eq!(directory.take(two), Some((2, 3)));
    assert_eq!(directory.owned(), 3);
    // Full: the first log is asked for the oldest, then the second for its own.
    assert_eq!(
        (directory.take(two), directory.leaving(one), directory.leaving(two)),
        (None, vec![0], vec![])
    );
    assert_eq!((directory.take(two), directory.leaving(two)), (None, vec![1]));
    directory.free(0);
    assert_eq!(directory.take(two), Some((0, 4)));
    directory.free(1);
    directory.free(1);
    assert_eq!((directory.owned(), directory.take(one)), (2, Some((1, 5))));
}

#[test]
fn what_is_there_is_found_by_its_log_the_newest_first_and_the_others_make_room_for_it() {
    let mut directory = Directory::new(&[table(1, 7), table(2, 3), table(1, 9)]);
    let found = directory.attach(owner(1));
    assert_eq!(
        found.iter().map(|(index, region)| (*index, region.sequence)).collect::<Vec<_>>(),
        [(2, 9), (0, 7)]
    );
    // The second log is not there.
    assert_eq!(directory.take(owner(1)), Some((1, 10)));
    assert_eq!((directory.take(owner(1)), directory.leaving(owner(1))), (None, vec![0]));
    directory.free(0);
    directory.detach(owner(1), &[(2, table(1, 9).unwrap()), (1, table(1, 10).unwrap())]);
    assert_eq!(directory.attach(owner(1)).len(), 2);
    assert!(directory.attach(owner(1)).is_empty());
}
