use std::time::Duration;

use object_store::memory::InMemory;

use super::*;
use crate::testing::Way;

async fn read(device: &Device, lease: &Arc<Lease>, offset: usize, length: usize) -> Vec<u8> {
    device.read(lease, offset as u64, length as u64).await.expect("read").concat()
}

#[tokio::test(start_paused = true)]
async fn ranges_of_any_kind_hold_what_was_written() {
    const SIZE: usize = 6 << 20;
    let store = Arc::new(InMemory::new());
    let (device, lease) = Way::new(1, &store).held().await;
    let mut model = vec![0u8; SIZE];
    let mut state = 7u64;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % bound
    };
    for step in 0..120 {
        let offset = below(SIZE / 4096) * 4096;
        let length = ((1 + below(if step % 8 == 0 { 700 } else { 40 })) * 4096).min(SIZE - offset);
        let bytes: Vec<u8> = (0..length).map(|at| (at * 7 + step * 13) as u8).collect();
        model[offset..offset + length].copy_from_slice(&bytes);
        device.write(&lease, offset as u64, bytes.into()).await.expect("write");
        let at = below(SIZE / 4096) * 4096;
        let length = (64 << 10).min(SIZE - at);
        assert!(read(&device, &lease, at, length).await == model[at..at + length], "step {step}");
    }
    assert!(read(&device, &lease, 0, SIZE).await == model);
    device.let_go(1, &lease).await;
    // Another process finds all of it in the bucket.
    assert!(read(&Way::new(2, &store).device(), &Arc::default(), 0, SIZE).await == model);
    let (device, lease) = Way::new(2, &store).held().await;
    device.discard(&lease, (1 << 20) + 4096, 3 << 20).await.expect("discard");
    model[2 << 20..4 << 20].fill(0);
    assert!(read(&device, &lease, 0, SIZE).await == model, "whole objects are gone, parts stay");
}

#[test]
fn small_objects_in_the_header_and_large_ones_behind_it() {
    let part = |object, range: Range<usize>, object_bytes| Part { object, range, object_bytes };
    let (small, large) = (64 << 10, 1 << 20);
    assert_eq!(parts(0, 4096), [part(0, 0..4096, small)]);
    assert_eq!(
        parts((1 << 20) - 4096, (1 << 20) + 8192),
        [part(15, small - 4096..small, small), part(16, 0..large, large), part(17, 0..4096, large)]
    );
    assert_eq!((name(15), name(16)), ("header/0f".to_owned(), "data/000000000".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_object_with_a_request_in_doubt_is_left_alone_until_that_cannot_come_any_more() {
    let store = Arc::new(InMemory::new());
    let (device, lease) = Way::new(1, &store).held().await;
    device.note_answer(16, true);
    let began = Instant::now();
    device.write(&lease, 2 << 20, Bytes::from(vec![1; 1 << 20])).await.expect("another object");
    assert!(began.elapsed() < Duration::from_secs(1));
    device.write(&lease, 1 << 20, Bytes::from(vec![1; 1 << 20])).await.expect("this one");
    assert!(began.elapsed() >= LATE_TIME_MAX, "{:?}", began.elapsed());
}
