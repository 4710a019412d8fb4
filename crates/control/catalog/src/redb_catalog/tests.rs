use std::fs;

use quarry_api_types::{
    DeviceId, Durability, GroupId, HostGroupId, HostId, NodeId, Protocol, SpaceLevels, Timestamp, VolumeId,
};
use quarry_types::LogId;
use tempfile::TempDir;

use super::*;
use crate::{
    AudienceRecord, ChapRecord, DeviceRecord, MemberRecord, MigrationPhaseRecord, PlaceRecord, ProofRecord,
    RegistrationRecord, ReservationRecord,
};

fn node(number: u128) -> NodeRecord {
    NodeRecord { id: NodeId::from_random(number), created: Timestamp::from_unix_ms(1) }
}

fn pool(number: u128, name: &str) -> PoolRecord {
    PoolRecord {
        id: PoolId::from_random(number),
        name: name.parse().unwrap(),
        copies: 2,
        protection: None,
        devices: vec![
            DeviceRecord {
                id: DeviceId::from_random(1),
                path: "/dev/sdb".into(),
                removing: false,
                behind_since: None,
            },
            DeviceRecord {
                id: DeviceId::from_random(2),
                path: "/srv/disk".into(),
                removing: true,
                behind_since: None,
            },
        ],
        created: Timestamp::from_unix_ms(2),
        scrubbed: None,
        scrub: None,
        levels: SpaceLevels::default(),
        overcommit_limit_percent: Some(300),
        rebuild_rate_bytes: Some(1 << 20),
        incarnations: vec![(LogId(0), 7)],
    }
}

fn export(number: u128, volume: &str) -> ExportRecord {
    ExportRecord {
        id: ExportId::from_random(number),
        volume_id: VolumeId::from_random(number),
        volume: volume.parse().unwrap(),
        snapshot: None,
        protocol: Protocol::Nbd,
        audience: None,
        number: None,
        read_only: false,
        created: Timestamp::from_unix_ms(3),
    }
}

fn host(number: u128, name: &str) -> HostRecord {
    let proof = |user: &str| ProofRecord { user: user.to_owned(), secret: format!("secret of {user}") };
    HostRecord {
        id: HostId::from_random(number),
        name: name.parse().unwrap(),
        initiators: vec![format!("iqn.2001-04.com.example:{name}").parse().unwrap()],
        networks: vec!["10.1.0.0/16".parse().unwrap()],
        chap: Some(ChapRecord { initiator: proof("web"), mutual: Some(proof("node")) }),
        created: Timestamp::from_unix_ms(5),
    }
}

fn host_group(number: u128, name: &str) -> HostGroupRecord {
    HostGroupRecord {
        id: HostGroupId::from_random(number),
        name: name.parse().unwrap(),
        hosts: vec![HostId::from_random(number)],
        created: Timestamp::from_unix_ms(6),
    }
}

fn reservation(number: u128) -> ReservationRecord {
    ReservationRecord {
        volume_id: VolumeId::from_random(number),
        registrations: vec![RegistrationRecord { initiator: "iqn.a,i,0x01".into(), key: number as u64 }],
        held: None,
    }
}

/// To the hosts of a group, under a number.
fn mapped(number: u128, volume: &str) -> ExportRecord {
    ExportRecord {
        protocol: Protocol::Iscsi,
        audience: Some(AudienceRecord::HostGroup(HostGroupId::from_random(number))),
        number: Some(0),
        read_only: true,
        ..export(number, volume)
    }
}

fn group(number: u128, name: &str) -> GroupRecord {
    GroupRecord {
        id: GroupId::from_random(number),
        name: name.parse().unwrap(),
        members: vec![MemberRecord {
            volume_id: VolumeId::from_random(number),
            volume: "db".parse().unwrap(),
            pool_id: PoolId::from_random(1),
        }],
        qos: None,
        created: Timestamp::from_unix_ms(4),
    }
}

fn image(number: u128, name: &str) -> ImageRecord {
    ImageRecord {
        id: VolumeId::from_random(number),
        name: name.parse().unwrap(),
        device: "nbd://10.0.0.7:10809/lun0".into(),
        identity: (number == 2).then(|| "naa.5000c500".to_owned()),
        size_bytes: 10 << 30,
        read_only: number == 2,
        durability: Durability::Flush,
        in_use: true,
        created: Timestamp::from_unix_ms(7),
    }
}

fn migration(number: u128) -> MigrationRecord {
    MigrationRecord {
        volume_id: VolumeId::from_random(number),
        volume: "erp".parse().unwrap(),
        from: PlaceRecord::Device("/dev/sdx".into()),
        to: PlaceRecord::Pool(PoolId::from_random(1)),
        phase: MigrationPhaseRecord::Copying,
        copied_bytes: 1 << 30,
        made_device: false,
        made_file: (number == 3).then(|| "fd00:7:1.5".to_owned()),
        to_identity: (number == 2).then(|| "naa.5000c500".to_owned()),
        history_s: 60,
        rate_bytes_per_s: Some(100 << 20),
        begun: Timestamp::from_unix_ms(8),
    }
}

#[test]
fn volumes_outside_of_pools_and_on_their_way_are_remembered_until_they_are_forgotten() {
    let directory = TempDir::new().unwrap();
    let catalog = filled(directory.path());
    let puts = [image(1, "web"), image(2, "erp")].map(Change::PutImage);
    catalog.commit(&puts).unwrap();
    catalog.commit(&[Change::PutMigration(migration(1)), Change::PutMigration(migration(2))]).unwrap();
    drop(catalog);
    let catalog = RedbCatalog::open(directory.path()).unwrap();
    assert_eq!(catalog.images().unwrap(), [image(2, "erp"), image(1, "web")]);
    // The switch is one step: which place counts, and what there is.
    let switched = MigrationRecord { phase: MigrationPhaseRecord::Switched, ..migration(1) };
    let ids = [VolumeId::from_random(1), VolumeId::from_random(2)];
    let changes = [Change::PutMigration(switched.clone()), Change::DeleteImage(ids[0])];
    catalog.commit(&changes).unwrap();
    catalog.commit(&[Change::DeleteMigration(ids[1])]).unwrap();
    assert_eq!(catalog.images().unwrap(), [image(2, "erp")]);
    assert_eq!(catalog.migrations().unwrap(), [switched]);
}

fn filled(directory: &Path) -> RedbCatalog {
    let catalog = RedbCatalog::open(directory).unwrap();
    catalog
        .commit(&[
            Change::PutNode(node(9)),
            Change::PutPool(pool(1, "zeta")),
            Change::PutPool(pool(2, "alpha")),
            Change::PutExport(export(1, "web")),
            Change::PutExport(export(2, "db")),
            Change::PutGroup(group(1, "shop")),
            Change::PutGroup(group(2, "mail")),
            Change::PutHost(host(1, "web")),
            Change::PutHost(host(2, "app")),
            Change::PutHostGroup(host_group(1, "farm")),
            Change::PutExport(mapped(3, "web")),
            Change::PutReservation(reservation(1)),
            Change::PutReservation(reservation(2)),
        ])
        .unwrap();
    catalog
}

#[test]
fn a_new_catalog_is_empty_and_its_directory_private() {
    use std::os::unix::fs::PermissionsExt;

    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("var/lib/quarry");
    let catalog = RedbCatalog::open(&directory).unwrap();
    assert_eq!(catalog.node().unwrap(), None);
    assert_eq!(catalog.pools().unwrap(), []);
    assert_eq!(catalog.exports().unwrap(), []);
    assert_eq!(catalog.groups().unwrap(), []);
    assert_eq!((catalog.hosts().unwrap(), catalog.host_groups().unwrap()), (vec![], vec![]));
    assert_eq!(catalog.pool(PoolId::from_random(1)).unwrap(), None);
    assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let names: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["catalog.redb"]);
}

#[test]
fn its_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;

    let directory = TempDir::new().unwrap();
    let path = directory.path().join("catalog.redb");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    drop(filled(directory.path()));
    assert_eq!(mode(), 0o600);
    // As a copy comes back that was made by hand.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let catalog = RedbCatalog::open(directory.path()).unwrap();
    assert_eq!(mode(), 0o600);
    assert_eq!(catalog.hosts().unwrap()[1].chap, host(1, "web").chap, "the secrets are there");
}

#[test]
fn everything_is_there_after_reopening_in_order_of_names() {
    let directory = TempDir::new().unwrap();
    drop(filled(directory.path()));
    let catalog = RedbCatalog::open(directory.path()).unwrap();
    assert_eq!(catalog.node().unwrap(), Some(node(9)));
    assert_eq!(catalog.pools().unwrap(), [pool(2, "alpha"), pool(1, "zeta")]);
    assert_eq!(catalog.exports().unwrap(), [export(2, "db"), export(1, "web"), mapped(3, "web")]);
    assert_eq!(catalog.groups().unwrap(), [group(2, "mail"), group(1, "shop")]);
    assert_eq!(catalog.hosts().unwrap(), [host(2, "app"), host(1, "web")]);
    assert_eq!(catalog.host_groups().unwrap(), [host_group(1, "farm")]);
    assert_eq!(catalog.reservations().unwrap().len(), 2);
    assert_eq!(catalog.pool(PoolId::from_random(1)).unwrap(), Some(pool(1, "zeta")));
    assert_eq!(catalog.export(ExportId::from_random(2)).unwrap(), Some(export(2, "db")));
}

#[test]
fn a_put_replaces_and_a_delete_may_repeat() {
    let directory = TempDir::new().unwrap();
    let catalog = filled(directory.path());
    let delete = [
        Change::DeletePool(PoolId::from_random(2)),
        Change::DeleteExport(ExportId::from_random(1)),
        Change::DeleteGroup(GroupId::from_random(1)),
        Change::DeleteHost(HostId::from_random(1)),
        Change::DeleteHostGroup(HostGroupId::from_random(1)),
        Change::DeleteExport(ExportId::from_random(3)),
        Change::DeleteReservation(VolumeId::from_random(1)),
    ];
    catalog.commit(&[Change::PutPool(pool(1, "renamed")), Change::PutGroup(group(2, "post"))]).unwrap();
    catalog.commit(&delete).unwrap();
    catalog.commit(&delete).unwrap();
    assert_eq!(catalog.pools().unwrap(), [pool(1, "renamed")]);
    assert_eq!(catalog.exports().unwrap(), [export(2, "db")]);
    assert_eq!(catalog.groups().unwrap(), [group(2, "post")]);
    assert_eq!(catalog.hosts().unwrap(), [host(2, "app")]);
    assert_eq!(catalog.host_groups().unwrap(), []);
    assert_eq!(catalog.reservations().unwrap(), [reservation(2)]);
}

#[test]
fn a_second_process_is_refused() {
    let directory = TempDir::new().unwrap();
    let first = RedbCatalog::open(directory.path()).unwrap();
    let error = RedbCatalog::open(directory.path()).err().expect("the file is locked");
    assert!(matches!(error, CatalogError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another quarryd"), "{error}");
    drop(first);
    RedbCatalog::open(directory.path()).unwrap();
}

#[test]
fn a_newer_catalog_and_a_newer_record_are_refused_with_their_version() {
    let directory = TempDir::new().unwrap();
    let catalog = filled(directory.path());
    let transaction = begin_write(&catalog.database).unwrap();
    let newer = br#"{"version":7,"record":{}}"#;
    put(&transaction, POOLS, "a", newer).unwrap();
    transaction.commit().unwrap();
    drop(catalog);
    let error = RedbCatalog::open(directory.path()).err().unwrap();
    assert!(matches!(error, CatalogError::Newer { found: 7, supported: 3, .. }), "{error}");

    let directory = TempDir::new().unwrap();
    let catalog = filled(directory.path());
    let transaction = begin_write(&catalog.database).unwrap();
    transaction.open_table(META).unwrap().insert(META_VERSION, 2).unwrap();
    transaction.commit().unwrap();
    drop(catalog);
    let error = RedbCatalog::open(directory.path()).err().unwrap();
    assert!(matches!(error, CatalogError::Newer { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn a_damaged_record_is_named() {
    let directory = TempDir::new().unwrap();
    let catalog = filled(directory.path());
    let transaction = begin_write(&catalog.database).unwrap();
    put(&transaction, EXPORTS, "some-id", b"{\"version\":1,").unwrap();
    transaction.commit().unwrap();
    drop(catalog);
    let error = RedbCatalog::open(directory.path()).err().unwrap().to_string();
    assert!(error.contains("is damaged") && error.contains("some-id"), "{error}");
}

#[test]
fn a_file_that_is_no_catalog_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("catalog.redb");
    for bytes in [b"not a catalog".to_vec(), vec![0xa5; 1 << 20]] {
        fs::write(&path, &bytes).unwrap();
        let error = RedbCatalog::open(directory.path()).err().unwrap();
        assert!(matches!(error, CatalogError::Corrupt { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_flipped_byte_is_found_or_does_no_harm() {
    let directory = TempDir::new().unwrap();
    drop(filled(directory.path()));
    let path = directory.path().join("catalog.redb");
    let good = fs::read(&path).unwrap();
    let needle = b"/dev/sdb";
    let hits: Vec<_> = (0..good.len() - needle.len()).filter(|&at| good[at..].starts_with(needle)).collect();
    assert!(!hits.is_empty());
    let mut found = 0;
    for at in hits {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fs::write(&path, &bad).unwrap();
        match RedbCatalog::open(directory.path()) {
            Err(CatalogError::Corrupt { .. }) => found += 1,
            Err(other) => panic!("{other}"),
            // The hit lies in a page that no longer counts.
            Ok(catalog) => assert_eq!(catalog.pools().unwrap(), [pool(2, "alpha"), pool(1, "zeta")]),
        }
    }
    assert!(found > 0, "no hit lay in a live page");
}

#[test]
fn the_last_namespace_id_outlives_its_export() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("catalog.redb");
    let put = |number: u128, protocol, namespace| {
        let record = ExportRecord { protocol, number: Some(namespace), ..export(number, "disk") };
        Change::PutExport(record)
    };
    {
        let catalog = RedbCatalog::open(&path).expect("a new one");
        assert_eq!(catalog.last_namespace_id().expect("it is read"), 0);
        catalog.commit(&[put(1, Protocol::NvmeTcp, 7), put(2, Protocol::Iscsi, 9)]).expect("two exports");
        catalog.commit(&[put(3, Protocol::NvmeTcp, 8)]).expect("an export");
        catalog.commit(&[put(1, Protocol::NvmeTcp, 7)]).expect("an old one changes");
        catalog.commit(&[Change::DeleteExport(ExportId::from_random(3))]).expect("it goes");
        assert_eq!(catalog.last_namespace_id().expect("it is read"), 8);
    }
    let catalog = RedbCatalog::open(&path).expect("it is there");
    assert_eq!(catalog.last_namespace_id().expect("it is read"), 8);
}
