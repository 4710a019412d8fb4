use quarry_scsi::{Code, Sense};

use super::*;
use quarry_iscsi_wire::digest::digest;

fn outbox(change: impl FnOnce(&mut Parameters)) -> Outbox {
    let mut parameters = Parameters::default();
    change(&mut parameters);
    Outbox::new(BufferPool::default(), &parameters)
}

fn request(reads: bool, writes: bool, expected_bytes: u32, wanted_bytes: u32) -> Request {
    let mut header = Header::new(opcode::SCSI_COMMAND);
    header.set_u32(16, 77);
    header.set_u32(20, expected_bytes);
    for (flag, is_set) in [(flags::READ, reads), (flags::WRITE, writes)] {
        header.0[1] |= if is_set { flag } else { 0 };
    }
    Request { wanted_bytes, held_bytes: 10, ..Request::new(&header) }
}

/// Everything that waits, as one run of bytes.
fn drain(outbox: &mut Outbox) -> (Vec<u8>, u64) {
    let (mut bytes, mut held) = (Vec::new(), 0);
    while let Some(batch) = outbox.take() {
        let before = bytes.len();
        batch.views.iter().for_each(|view| bytes.extend_from_slice(view));
        assert_eq!(bytes.len() - before, batch.bytes, "what a batch has is counted");
        held += batch.held_bytes;
    }
    assert!(outbox.is_empty());
    (bytes, held)
}

fn views(pieces: &[&[u8]]) -> Views {
    pieces.iter().map(|piece| BufferPool::default().copy_of(piece)).collect()
}

#[test]
fn data_is_cut_to_what_the_initiator_takes() {
    let mut outbox = outbox(|parameters| {
        (parameters.initiator_segment_bytes, parameters.burst_bytes) = (512, 1024);
    });
    let mut numbers = Numbers::new(1, 50);
    let data: Vec<u8> = (0..1300).map(|at| at as u8).collect();
    let reply = Reply::data(views(&[&data[..700], &data[700..701], &data[701..]]));
    outbox.reply(&mut numbers, &request(true, false, 1300, 0), reply);
    let (bytes, held) = drain(&mut outbox);
    assert_eq!(held, 10);
    let (mut at, mut found, mut shapes) = (0, Vec::new(), Vec::new());
    while at < bytes.len() {
        let header = Header::decode(&bytes[at..]);
        let length = header.data_bytes();
        found.extend_from_slice(&bytes[at + 48..at + 48 + length]);
        shapes.push((header.u32(36), header.u32(40), length, header.0[1]));
        at += 48 + length + padding(length);
    }
    let last = flags::FINAL | flags::STATUS;
    assert_eq!(shapes, [(0, 0, 512, 0), (1, 512, 512, flags::FINAL), (2, 1024, 276, last)]);
    assert_eq!(found, data);
}

#[test]
fn digests_cover_padding_as_well() {
    let mut outbox = outbox(|parameters| {
        (parameters.header_digest, parameters.data_digest) = (true, true);
    });
    let mut numbers = Numbers::new(1, 50);
    outbox.reply(&mut numbers, &request(true, false, 5, 0), Reply::data(views(&[b"ab", b"cde"])));
    let (bytes, _) = drain(&mut outbox);
    assert_eq!(bytes.len(), 48 + 4 + 8 + 4);
    assert_eq!(bytes[48..52], digest(&bytes[..48]));
    assert_eq!(bytes[52..60], *b"abcde\0\0\0");
    assert_eq!(bytes[60..], digest(b"abcde\0\0\0"));
    let mut ping = Header::new(opcode::NOP_IN);
    numbers.stamp(&mut ping);
    for data in [&b"xyz"[..], &[7; 5000]] {
        outbox.small(&ping, data);
        let (bytes, _) = drain(&mut outbox);
        let padded = data.len() + padding(data.len());
        assert_eq!(bytes[52..52 + data.len()], *data);
        assert_eq!(bytes[52 + padded..], digest(&bytes[52..52 + padded]));
    }
}

#[test]
fn residuals_and_sense_are_told() {
    let mut outbox = outbox(|_| {});
    let mut numbers = Numbers::new(1, 50);
    let mut answer = |request: Request, reply: Reply| {
        outbox.reply(&mut numbers, &request, reply);
        let (bytes, _) = drain(&mut outbox);
        (Header::decode(&bytes), bytes[48..].to_vec())
    };
    let table = [
        (request(false, true, 512, 512), 0, 0),
        (request(false, true, 1024, 512), flags::UNDERFLOW, 512),
        (request(false, true, 512, 2048), flags::OVERFLOW, 1536),
        (request(false, false, 0, 512), flags::OVERFLOW, 512),
        (request(true, false, 100, 0), flags::UNDERFLOW, 100),
        (request(false, false, 0, 0), 0, 0),
    ];
    for (request, flag, bytes) in table {
        let (header, _) = answer(request, Reply::good());
        assert_eq!(
            (header.opcode(), header.0[3], header.0[1] & 0x7F, header.u32(44)),
            (0x21, 0, flag, bytes)
        );
    }
    let (header, _) = answer(request(true, false, 2, 0), Reply::data(views(&[b"abcd"])));
    assert_eq!((header.data_bytes(), header.0[1] & flags::OVERFLOW, header.u32(44)), (2, flags::OVERFLOW, 2));
    let (header, _) = answer(request(false, false, 0, 0), Reply::data(views(&[b"abcd"])));
    assert_eq!((header.opcode(), header.u32(44)), (0x21, 4), "data that nobody expects is not sent");
    let sense = Sense::illegal(Code::OUT_OF_RANGE);
    let (header, data) = answer(request(true, false, 512, 0), Reply::check(sense));
    assert_eq!((header.0[3], header.data_bytes()), (2, 20));
    assert_eq!((&data[..2], &data[2..20]), (&[0, 18][..], &sense.fixed()[..]));
}

#[test]
fn long_answers_leave_in_batches() {
    let mut outbox = outbox(|parameters| parameters.initiator_segment_bytes = 1 << 20);
    let mut numbers = Numbers::new(1, 50);
    for _ in 0..5 {
        let reply = Reply::data(views(&[&[1; 1 << 20]]));
        outbox.reply(&mut numbers, &request(true, false, 1 << 20, 0), reply);
    }
    let sizes: Vec<usize> = std::iter::from_fn(|| outbox.take()).map(|batch| batch.bytes).collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|bytes| *bytes < SEND_BYTES_MAX + (1 << 20) + 4096));
}
