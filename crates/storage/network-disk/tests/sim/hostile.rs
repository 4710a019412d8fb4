//! Servers that speak nonsense: they fail what is asked, in bounded time, and do nothing worse.
//!
//! All that a client asks until its disk is open has fixed tags, so that the good answers are the same bytes each time. A server sends
//! these, and from some byte on something else.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use quarry_env::{Address, Env, OpenMode};
use quarry_env_sim::{Config, World};
use quarry_iscsi_wire::pdu::{Header, flags, opcode, padding};
use quarry_network_disk::{Host, Remotes, with_network_disks};
use quarry_nvme_wire::pdu::{DataHeader, InitializeResponse, Link, put_c2h_data, put_response};
use quarry_nvme_wire::{CompletionEntry, Status};

const PLAIN: Link = Link { header_digest: false, data_digest: false, host_alignment: 0 };
const LIMIT: Duration = Duration::from_secs(3600);
const BLOCKS: u64 = 1 << 16;
const PORT: &str = "10.0.0.7:9000";

/// What a server says, connection by connection.
type Script = Vec<Vec<u8>>;

/// NVMe/TCP: the admin queue's connection, then the queue's.
fn nvme() -> Script {
    let initialized = InitializeResponse { link: PLAIN, data_bytes_max: 1 << 17 }.encode();
    let mut out = [0; 512];
    let mut answer = |result: u64| {
        let entry =
            CompletionEntry { result, submission_head: 0, queue: 0, command: 1, status: Status::SUCCESS };
        let length = put_response(&mut out, &entry, &PLAIN);
        out[..length].to_vec()
    };
    let page = |fill: &dyn Fn(&mut [u8])| {
        let mut bytes = vec![0; 128];
        let header = DataHeader { command: 1, tag: 0, offset: 0, length: 4096 };
        let length = put_c2h_data(&mut bytes, &header, false, &PLAIN);
        bytes.truncate(length);
        let mut page = vec![0; 4096];
        fill(&mut page);
        bytes.extend(page);
        bytes
    };
    let controller = page(&|page| {
        (page[77], page[525], page[520]) = (5, 1, 4);
        page[1792..1796].copy_from_slice(&(516u32).to_le_bytes());
    });
    let namespace = page(&|page| {
        page[..8].copy_from_slice(&BLOCKS.to_le_bytes());
        (page[130], page[104]) = (12, 7);
    });
    let descriptors = page(&|page| (page[0], page[1], page[4]) = (3, 16, 9));
    let capabilities = 127 | 1 << 37;
    let admin = [
        initialized.to_vec(),
        answer(1),
        answer(capabilities),
        answer(0),
        answer(1),
        controller,
        answer(0),
        answer(0),
        namespace,
        answer(0),
        descriptors,
        answer(0),
    ];
    vec![admin.concat(), [initialized.to_vec(), answer(1)].concat()]
}

fn iscsi() -> Script {
    let unit = |code: u8, tag: u32, change: &dyn Fn(&mut Header), data: &[u8]| {
        let mut header = Header::new(code);
        header.set_u32(16, tag);
        header.set_u32(20, u32::MAX);
        header.set_u32(32, 64);
        header.set_data_bytes(data.len());
        change(&mut header);
        [&header.0[..], data, &[0; 3][..padding(data.len())]].concat()
    };
    const TAG: u32 = 0xFFFF_0000;
    let login =
        unit(opcode::LOGIN_RESPONSE, 0, &|header| header.0[1] = 0x87, b"MaxRecvDataSegmentLength=65536\0");
    let data = |data: &[u8]| unit(opcode::DATA_IN, TAG, &|header| header.0[1] |= flags::STATUS, data);
    let good = unit(opcode::SCSI_RESPONSE, TAG, &|_| {}, &[]);
    let mut capacity = [0; 32];
    capacity[..8].copy_from_slice(&(BLOCKS - 1).to_be_bytes());
    (capacity[10], capacity[14]) = (0x10, 0x80);
    let mut limits = [0; 64];
    (limits[1], limits[3]) = (0xB0, 60);
    limits[20..28].fill(0xFF);
    let names = [0, 0x83, 0, 6, 1, 3, 0, 2, 0x60, 0x0A];
    let supported = data(&[0, 3, 0, 16]);
    let serial = [0, 0x80, 0, 2, b'4', b'2'];
    let script = [
        login,
        data(&[0; 36]),
        good,
        data(&capacity),
        data(&limits),
        data(&names),
        data(&serial),
        data(&[3, 0, 0, 0]),
        supported,
    ];
    vec![script.concat()]
}

/// Sends each connection its part of the script, again and again, and then noise.
async fn speak(env: Env, script: Script, broken_at: usize, noise: u64) {
    let address = Address::Tcp(PORT.parse().expect("an address"));
    let listener = env.network.listen(&address).await.expect("nobody else listens");
    let mut connection = 0;
    while let Ok((stream, _)) = listener.accept().await {
        let mut bytes = script[connection % script.len()].clone();
        let before: usize = script.iter().take(connection % script.len()).map(Vec::len).sum();
        connection += 1;
        let mut random = noise ^ connection as u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as u8
        };
        // A byte that is wrong in the good answers, and headers that are nearly right behind them.
        if let Some(byte) = broken_at.checked_sub(before).and_then(|at| bytes.get_mut(at)) {
            *byte = next();
        }
        for _ in 0..8 {
            let mut header = [0; 48];
            header.iter_mut().for_each(|byte| *byte = if next() < 128 { 0 } else { next() % 32 });
            header[0] = [5, 7, 9, 0x21, 0x25, 0x31, 0x20, 0x32][usize::from(next() % 8)];
            (header[2], header[4]) = (24, if next() < 128 { 24 } else { next() });
            bytes.extend(header);
        }
        let env = env.clone();
        env.clone()
            .spawner
            .spawn(async move {
                // It does not listen, and goes when the client does.
                let _ = stream.send(vec![env.buffers.copy_of(&bytes)]).await;
                let _ = stream.receive(env.buffers.allocate(1 << 16), 0).await;
                env.clock.sleep(Duration::from_secs(1)).await;
            })
            .detach();
    }
}

/// Opens the disk and uses it; whether it could be opened.
fn meet(uri: &str, script: Script, broken_at: usize, noise: u64) -> bool {
    let world = World::new(noise, Config::default());
    let (client, server) = (world.process(2), world.process(1));
    server.spawn(0, speak(server.env(0), script, broken_at, noise)).detach();
    world.run_for(Duration::from_millis(10)).expect("it listens");
    let remotes = Remotes::new(1, Host::of_node([7; 16], "test"));
    let env = with_network_disks(&client.env(0), &remotes);
    let path = PathBuf::from(uri);
    let using = async move {
        let Ok(disk) = env.disks.open(&path, OpenMode::Exclusive).await else { return false };
        let write = disk.write(0, vec![env.buffers.copy_of(&[1; 8192])]);
        let (trim, flush) = (disk.discard(1 << 20, 1 << 20), disk.flush());
        let read = disk.read(8192, env.buffers.allocate(8192));
        let (buffer, read) = read.await;
        assert_eq!(buffer.len(), 8192, "it comes back as long as it was");
        // Nothing of this can have gone well all along: the server has never answered a flush and all the rest.
        let all = [write.await, trim.await, flush.await, read];
        drop(Rc::clone(&disk));
        assert!(all.iter().any(Result::is_err));
        true
    };
    let done = world.block_on(&client, 0, using, LIMIT);
    done.unwrap_or_else(|stuck| panic!("{stuck}, broken at {broken_at}, noise {noise}: {}", world.report()))
}

fn meet_many(uri: &str, script: &Script) {
    let length: usize = script.iter().map(Vec::len).sum();
    assert!(meet(uri, script.clone(), usize::MAX, 1), "the answers are good ones until they end");
    let mut opened = 0;
    for noise in 0..200 {
        // Headers are where it matters; pages of 4 KiB are mostly zeroes.
        let broken_at = (noise as usize * 7919) % length;
        opened += usize::from(meet(uri, script.clone(), broken_at, noise));
    }
    assert!(opened > 0 && opened < 200, "{opened} of 200 were opened");
}

#[test]
fn a_hostile_controller_does_no_harm() {
    meet_many("nvme-tcp://10.0.0.7:9000/nqn.2026-11.test:x/1", &nvme());
}

#[test]
fn a_hostile_target_does_no_harm() {
    meet_many("iscsi://10.0.0.7:9000/iqn.2026-11.test:x/1", &iscsi());
}
