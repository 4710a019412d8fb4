//! What initiators ask first.

use quarry_scsi::{Code, Key, Status};

use crate::support::{BLOCKS, World, copy_command};

#[test]
fn a_unit_says_what_it_is() {
    let world = World::new();
    let client = world.newcomer("iqn.a");
    let standard = client.data(&[0x12, 0, 0, 0, 255, 0]);
    assert_eq!((standard[0], standard[2], standard[3] & 0x0F, standard.len()), (0, 6, 2, 96));
    assert_eq!(standard[8..16], *b"QUARRY  ");
    let page = |number: u8| client.data(&[0x12, 1, number, 1, 0, 0]);
    assert_eq!(page(0)[4..], [0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2]);
    for number in [0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2] {
        let data = page(number);
        assert_eq!(data[1], number);
        assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])) + 4, data.len());
    }
    assert_eq!(page(0x83)[4..8], [1, 3, 0, 16], "NAA first");
    assert_eq!(page(0x86)[5], 0x01, "of the task attributes SIMPLE alone is kept");
    assert_eq!(client.code(&[0x12, 1, 0xC0, 0, 255, 0], &[]), Some(Code::INVALID_FIELD_IN_CDB));
    assert_eq!(client.code(&[0x12, 0, 0x80, 0, 255, 0], &[]), Some(Code::INVALID_FIELD_IN_CDB));
    assert_eq!(client.data(&[0x12, 0, 0, 0, 5, 0]).len(), 5, "as much as there is room for");
    assert_eq!(client.code(&[0; 6], &[]), Some(Code::POWER_ON), "none of this has told the attention");
}

#[test]
fn capacity_and_units_are_told() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let last = (BLOCKS as u32 - 1).to_be_bytes();
    assert_eq!(client.data(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), [last, 512u32.to_be_bytes()].concat());
    let mut long = [0; 16];
    (long[0], long[1], long[13]) = (0x9E, 0x10, 32);
    let data = client.data(&long);
    assert_eq!((&data[4..8], data[13], data[14]), (&last[..], 3, 0xC0));
    let luns = client.data(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0]);
    assert_eq!(luns, [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(client.code(&[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0], &[]), Some(Code::INVALID_FIELD_IN_CDB));
}

#[test]
fn where_there_is_no_unit_others_can_be_found() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let absent = client.send_to(9, &[0x12, 0, 0, 0, 255, 0], &[]);
    assert_eq!((absent.status, absent.data[0][0]), (Status::Good, 0x7F));
    assert_eq!(client.send_to(9, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], &[]).data[0].len(), 16);
    let refused = client.send_to(9, &[0; 6], &[]).sense.expect("nothing is there");
    assert_eq!(refused.code, Code::UNIT_NOT_SUPPORTED);
    let sense = client.send_to(9, &[0x03, 0, 0, 0, 18, 0], &[]);
    assert_eq!(sense.data[0][12..14], [0x25, 0]);
}

#[test]
fn modes_are_told_and_one_bit_of_them_changes() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let other = world.initiator("iqn.b");
    let all = client.data(&[0x1A, 0x08, 0x3F, 0, 255, 0]);
    assert_eq!((usize::from(all[0]) + 1, all[2], all[3]), (all.len(), 0x10, 0));
    assert_eq!((all[4], all[4 + 20], all[4 + 32]), (0x08, 0x0A, 0x1C));
    assert_eq!(all[6] & 4, 4, "there is a cache, until a flush");
    let control = client.data(&[0x1A, 0x08, 0x0A, 0, 255, 0]);
    let mut list = vec![0, 0, 0, 0];
    list.extend_from_slice(&control[4..]);
    let select = [0x15, 0x10, 0, 0, list.len() as u8, 0];
    list[8] |= 0x08;
    assert_eq!(client.status(&select, &list), Status::Good);
    assert_eq!(other.code(&[0; 6], &[]), Some(Code::MODE_PARAMETERS_CHANGED));
    let write = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    assert_eq!(other.code(&write, &[1; 512]), Some(Code::SOFTWARE_WRITE_PROTECTED));
    assert_eq!(client.data(&[0x1A, 0x08, 0x0A, 0, 255, 0])[2], 0x90, "WP");
    list[8] &= !0x08;
    assert_eq!(client.status(&select, &list), Status::Good);
    assert_eq!(client.status(&write, &[1; 512]), Status::Good);
    let with_blocks_of = |bytes: u32| {
        let descriptor = [[0; 4], bytes.to_be_bytes()].concat();
        let list = [&[0, 0, 0, 8][..], &descriptor, &list[4..]].concat();
        client.code(&[0x15, 0x10, 0, 0, list.len() as u8, 0], &list)
    };
    assert_eq!(with_blocks_of(512), None);
    assert_eq!(with_blocks_of(4096), Some(Code::INVALID_FIELD_IN_PARAMETERS), "blocks have one length");
    list[6] ^= 1;
    assert_eq!(client.code(&select, &list), Some(Code::INVALID_FIELD_IN_PARAMETERS), "no other bit");
    assert_eq!(client.code(&[0x1A, 0, 0xC8, 0, 255, 0], &[]), Some(Code(0x39, 0)), "nothing is saved");
    assert_eq!(client.code(&[0x1A, 0, 0x33, 0, 255, 0], &[]), Some(Code::INVALID_FIELD_IN_CDB));
}

#[test]
fn a_volume_that_refuses_writes_says_so() {
    let world = World::new();
    world.volume.set_info(|info| info.read_only = true);
    let client = world.initiator("iqn.a");
    assert_eq!(client.data(&[0x1A, 0x08, 0x0A, 0, 255, 0])[2], 0x90);
    for opcode in [0x2A, 0x2E, 0x41, 0x42] {
        let code = client.code(&[opcode, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[1; 512]);
        assert_eq!(code, Some(Code::WRITE_PROTECTED), "{opcode:#x}");
    }
}

#[test]
fn what_a_unit_that_is_only_read_is_asked_to_copy_is_judged_by_where_it_goes() {
    let world = World::new();
    world.volume.set_info(|info| info.read_only = true);
    let client = world.initiator("iqn.a");
    assert_eq!(
        client.code(&[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]),
        None,
        "nothing to copy"
    );
    let (command, list) = copy_command(quarry_volume::Volume::info(&*world.volume).id, 0, 8);
    assert_eq!(client.send(&command, &list).sense.map(|sense| sense.key), Some(Key::DataProtect));
}

#[test]
fn no_command_may_ask_for_auto_contingent_allegiance() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let mut long = [0; 16];
    (long[0], long[13], long[15]) = (0x88, 1, 0x04);
    let commands: [&[u8]; 4] = [
        &[0, 0, 0, 0, 0, 4],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 4],
        &[0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 4],
        &long,
    ];
    for command in commands {
        assert_eq!(client.code(command, &[]), Some(Code::INVALID_FIELD_IN_CDB), "{command:x?}");
    }
}

#[test]
fn every_supported_command_is_reported_and_understood() {
    let world = World::new();
    let client = world.initiator("iqn.a");
    let all = client.data(&[0xA3, 0x0C, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(u32::from_be_bytes(all[..4].try_into().expect("four")) as usize + 4, all.len());
    for entry in all[4..].chunks_exact(8) {
        let acts = entry[5] & 1 == 1;
        let option = if acts { 2 } else { 1 };
        let one = client.data(&[0xA3, 0x0C, option, entry[0], 0, entry[3], 0, 0, 1, 0, 0, 0]);
        assert_eq!((one[1] & 7, one[4], one[3]), (3, entry[0], entry[7]));
        let mut command = vec![entry[0], entry[3]];
        command.resize(usize::from(entry[7]), 0);
        let code = client.code(&command, &[]);
        assert_ne!(code, Some(Code::INVALID_OPCODE), "{:#x}", entry[0]);
    }
    assert_eq!(client.code(&[0x9D; 16], &[]), Some(Code::INVALID_OPCODE));
}
