//! A batch header and its records: what decodes has its payloads in order and encodes to the same records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quarry_format::batch::{self, BatchHeader, FIXED_BYTES, RecordTable};
use quarry_types::{BatchNumber, Incarnation, LogAddress, LogId, PoolId, SegmentId};

fuzz_target!(|data: &[u8]| {
    let header = BatchHeader {
        pool: PoolId::from_random(1),
        log: LogId(1),
        incarnation: Incarnation(1),
        number: BatchNumber(1),
        address: LogAddress::new(SegmentId::new(LogId(1), 1), 8),
        sectors: 64,
        previous_checksum: 0,
        flushed_through: BatchNumber(0),
    };
    let (sample, _) = RecordTable::default().encode(&header);
    // The header as it is, with a count of records and records of the fuzzer's.
    let mut body = sample[16..FIXED_BYTES - 4].to_vec();
    body.extend_from_slice(data);
    let length = (16 + body.len()) as u32;
    body[..4].copy_from_slice(&length.to_le_bytes());
    let Ok(batch) = batch::decode(&quarry_fuzz::sealed(&sample, &body)) else { return };
    let mut table = RecordTable::default();
    batch.records.iter().for_each(|record| table.push(record));
    let (again, _) = table.encode(&header);
    assert_eq!(batch::decode(&again).map(|again| again.records), Ok(batch.records.clone()));
    let (mut whole, mut packed) = (Vec::new(), Vec::new());
    for item in batch.items() {
        let area = if batch::is_whole(item.sectors) { &mut whole } else { &mut packed };
        area.push((item.sector, item.sectors));
    }
    for pair in whole.windows(2).chain(packed.windows(2)) {
        assert_eq!(pair[0].0.saturating_add(pair[0].1), pair[1].0);
    }
});
