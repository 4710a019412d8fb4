use quarry_api_types::{ExportId, Timestamp, VolumeId};

use super::*;

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn host(number: u128, initiators: &[&str], networks: &[&str]) -> HostRecord {
    HostRecord {
        id: HostId::from_random(number),
        name: name(&format!("h{number}")),
        initiators: initiators.iter().map(|text| text.parse().expect("an initiator")).collect(),
        networks: networks.iter().map(|text| text.parse().expect("a network")).collect(),
        chap: None,
        created: Timestamp::from_unix_ms(0),
    }
}

/// Hosts 1, 2 and 3; group 1 has hosts 1 and 2.
fn table() -> HostTable {
    let hosts = (1..=3).map(|number| host(number, &[&format!("iqn.2001-04.com.example:{number}")], &[]));
    let group = HostGroupRecord {
        id: HostGroupId::from_random(1),
        name: name("farm"),
        hosts: vec![HostId::from_random(1), HostId::from_random(2)],
        created: Timestamp::from_unix_ms(0),
    };
    HostTable::new(hosts.collect(), vec![group])
}

fn export(id: u128, volume: u128, audience: Option<AudienceRecord>, number: Option<u32>) -> ExportRecord {
    ExportRecord {
        id: ExportId::from_random(id),
        volume_id: VolumeId::from_random(volume),
        volume: name(&format!("v{volume}")),
        snapshot: None,
        protocol: Protocol::Iscsi,
        audience,
        number,
        read_only: false,
        created: Timestamp::from_unix_ms(0),
    }
}

fn to_host(number: u128) -> Option<AudienceRecord> {
    Some(AudienceRecord::Host(HostId::from_random(number)))
}

fn to_farm() -> Option<AudienceRecord> {
    Some(AudienceRecord::HostGroup(HostGroupId::from_random(1)))
}

#[test]
fn an_initiator_belongs_to_one_host() {
    let mut table = table();
    let refused =
        |table: &HostTable, host: &HostRecord| table.check_host(host).expect_err("a conflict").to_string();
    let same = host(4, &["IQN.2001-04.com.example:2"], &[]);
    assert_eq!(refused(&table, &same), "initiator 'iqn.2001-04.com.example:2' belongs to host 'h2'");
    table.check_host(&HostRecord { id: HostId::from_random(2), ..same }).expect("its own");
    let lab = host(5, &[], &["10.0.0.0/8"]);
    table.check_host(&lab).expect("no other one without initiators");
    table.hosts.insert(lab.id, lab);
    let part = host(6, &[], &["fd00::/8", "10.1.0.0/16"]);
    assert_eq!(refused(&table, &part), "network 10.1.0.0/16 overlaps with 10.0.0.0/8 of host 'h5'");
    table.check_host(&host(6, &["nqn.2014-08.com.example:a"], &["10.1.0.0/16"])).expect("known by its name");
    table.check_host(&host(6, &[], &["11.0.0.0/8"])).expect("apart");
}

#[test]
fn nobody_is_meant_to_see_a_volume_twice_or_two_under_one_number() {
    let table = table();
    let all = [
        export(1, 1, to_host(1), Some(0)),
        export(2, 2, to_farm(), Some(1)),
        ExportRecord { protocol: Protocol::NvmeTcp, ..export(3, 3, None, Some(1)) },
    ];
    let clash = |record: ExportRecord| table.clash(&record, &all);
    assert_eq!(clash(export(9, 1, to_host(1), Some(5))), Some(Clash::Volume(&all[0])));
    assert_eq!(
        clash(export(9, 1, to_farm(), Some(5))),
        Some(Clash::Volume(&all[0])),
        "host 1 is of the group"
    );
    assert_eq!(clash(export(9, 1, None, Some(5))), Some(Clash::Volume(&all[0])), "everybody, so host 1 too");
    assert_eq!(clash(export(9, 1, to_host(2), Some(5))), None);
    assert_eq!(clash(export(9, 9, to_host(2), Some(1))), Some(Clash::Number(&all[1])));
    assert_eq!(clash(export(9, 9, to_host(3), Some(1))), None);
    assert_eq!(clash(export(2, 2, to_farm(), Some(1))), None, "not with itself");
    assert_eq!(clash(export(9, 3, None, None)), None, "over another protocol");
    let snapshot = ExportRecord { snapshot: Some(name("s")), ..export(9, 1, to_host(1), Some(5)) };
    assert_eq!(clash(snapshot), None, "a snapshot is another thing than its volume");
}

#[test]
fn the_lowest_number_is_free_for_the_whole_audience() {
    let table = table();
    let all = [
        export(1, 1, to_host(1), Some(0)),
        export(2, 2, to_farm(), Some(1)),
        export(3, 3, to_host(3), Some(0)),
    ];
    let free = |audience| table.free_number(&export(9, 9, audience, None), &all, 5);
    assert_eq!(
        [free(to_host(1)), free(to_host(2)), free(to_farm()), free(None)],
        [Some(2), Some(0), Some(2), Some(2)]
    );
    let nvme = ExportRecord { protocol: Protocol::NvmeTcp, ..export(9, 9, None, None) };
    assert_eq!(table.free_number(&nvme, &all, 0), Some(1), "namespaces begin at 1");
    assert_eq!(table.free_number(&nvme, &all, 5), Some(6), "none that was given lately");
    assert_eq!(table.free_number(&nvme, &all, 16_383), Some(1), "round and round");
    let nbd = ExportRecord { protocol: Protocol::Nbd, ..nvme };
    assert_eq!(table.free_number(&nbd, &all, 0), None);
}

#[test]
fn an_audience_is_whoever_is_there() {
    let mut table = table();
    let farm = export(1, 1, to_farm(), Some(0));
    let hosts = |names: &[&str]| Audience::Hosts(names.iter().map(|&name| name.to_owned()).collect());
    assert_eq!(table.audience(&farm), hosts(&["h1", "h2"]));
    assert!(table.is_for(&farm, HostId::from_random(2)) && !table.is_for(&farm, HostId::from_random(3)));
    assert_eq!(table.audience(&export(1, 1, None, Some(0))), Audience::Everyone);
    table.groups.clear();
    assert_eq!(table.audience(&farm), hosts(&[]), "nobody, rather than everybody");
}
