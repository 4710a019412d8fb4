use super::*;
use quarry_nvme_wire::CommandBuilder;
use quarry_nvme_wire::bytes::{u16_at, u32_at, u64_at};

fn request(ten: u32, eleven: u32, offset: u64) -> Result<LogRequest, Status> {
    let command = CommandBuilder::new(admin::GET_LOG_PAGE, 1).dword(10, ten).dword(11, eleven);
    LogRequest::decode(&command.double_dword(12, offset).build())
}

#[test]
fn a_host_gets_the_section_that_it_asked_for() {
    let asked = request(0x0003_8170, 0, 8).unwrap();
    let expected = LogRequest { log: 0x70, specific: 1, retain: true, offset: 8, length: 16 };
    assert_eq!(asked, expected);
    let page: Vec<u8> = (0..20).collect();
    assert_eq!(
        section(page.clone(), &asked).unwrap()[..13],
        [8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0]
    );
    let behind = LogRequest { offset: 24, ..asked };
    assert_eq!(section(page, &behind), Err(Status::INVALID_FIELD));
}

#[test]
fn giant_and_crooked_requests_are_refused() {
    assert_eq!(request(0xFFFF_0002, 0xFFFF, 0), Err(Status::INVALID_FIELD), "16 GiB");
    assert_eq!(request(0x0003_0002, 0, 2), Err(Status::INVALID_FIELD));
    assert!(request(0xFFFF_0002, 3, 0).is_ok(), "1 MiB");
    assert_eq!(request(0x0000_0002, 4, 0), Err(Status::INVALID_FIELD));
}

#[test]
fn the_discovery_log_names_every_address() {
    let addresses = ["192.0.2.1:4420", "[2001:db8::1]:4421"].map(|text| text.parse().unwrap());
    let page = discovery(Some("nqn.sub"), &addresses, 42);
    assert_eq!((u64_at(&page, 0), u64_at(&page, 8), u16_at(&page, 16)), (42, 4, 0));
    let entry = |index: usize| &page[1024 * (index + 1)..][..1024];
    let text = |entry: &[u8], at: usize| quarry_nvme_wire::text_at(entry, at, 32).unwrap().to_owned();
    let all: Vec<_> =
        (0..4).map(|index| (entry(index)[1], entry(index)[2], text(entry(index), 512))).collect();
    let (four, six) = ("192.0.2.1".to_owned(), "2001:db8::1".to_owned());
    assert_eq!(all, [(1, 3, four.clone()), (2, 3, six.clone()), (1, 2, four), (2, 2, six)]);
    assert_eq!((text(entry(3), 32), text(entry(3), 256)), ("4421".to_owned(), "nqn.sub".to_owned()));
    assert_eq!((u16_at(entry(3), 4), u16_at(entry(3), 6)), (2, 0xFFFF));
    assert_eq!(u64_at(&discovery(None, &addresses, 1), 8), 2, "nothing for a host that sees nothing");
}

#[test]
fn ana_groups_name_their_namespaces() {
    let page = ana(&[(1, vec![1, 4]), (3, vec![2])], 9, false);
    assert_eq!((u64_at(&page, 0), u16_at(&page, 8)), (9, 2));
    assert_eq!((u32_at(&page, 16), u32_at(&page, 20), page[32]), (1, 2, 1));
    assert_eq!((u32_at(&page, 48), u32_at(&page, 52)), (1, 4));
    assert_eq!((u32_at(&page, 56), u32_at(&page, 60), u32_at(&page, 88)), (3, 1, 2));
    assert_eq!(page.len(), 16 + 32 * 128 + 4 * 1024, "as hosts compute it from NANAGRPID and MNAN");
    let groups_only = ana(&[(1, vec![1, 4]), (3, vec![2])], 9, true);
    assert_eq!((u32_at(&groups_only, 20), u32_at(&groups_only, 48)), (0, 3));
}

#[test]
fn errors_and_health_count() {
    let entry = ErrorEntry {
        count: 3,
        queue: 1,
        command: 9,
        status: Status::LBA_OUT_OF_RANGE,
        block: 7,
        namespace: 2,
    };
    let page = errors(&[entry]);
    assert_eq!((u64_at(&page, 0), u16_at(&page, 8), u16_at(&page, 10)), (3, 1, 9));
    assert_eq!((u16_at(&page, 12) >> 1 & 0x7FF, u64_at(&page, 16), u32_at(&page, 24)), (0x80, 7, 2));
    let traffic = Traffic { reads: 3, read_bytes: 512_001, writes: 1, ..Traffic::default() };
    let page = health(traffic, 4);
    assert_eq!((u64_at(&page, 32), u64_at(&page, 64), u64_at(&page, 80), u64_at(&page, 176)), (2, 3, 1, 4));
}

#[test]
fn changed_namespaces_overflow_into_one_word() {
    assert_eq!(u32_at(&changed_namespaces(&[5, 6]), 4), 6);
    let all: Vec<u32> = (1..=1025).collect();
    assert_eq!(u32_at(&changed_namespaces(&all), 0), u32::MAX);
    assert_eq!(u32_at(&changed_namespaces(&all), 4), 0);
}
