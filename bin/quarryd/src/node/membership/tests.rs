use super::*;

#[test]
fn the_slowest_log_says_when_it_is_done() {
    let log = |chunks, bytes, bytes_per_s, stuck| Rehoming {
        chunks,
        bytes,
        bytes_per_s,
        stuck,
        ..Rehoming::default()
    };
    let rebuild = together(&[log(2, 100, 10, false), log(1, 30, 1, false), log(0, 0, 7, false)]);
    assert_eq!((rebuild.chunks, rebuild.left_bytes, rebuild.bytes_per_s), (3, 130, 11));
    assert_eq!((rebuild.left_s, rebuild.stuck), (Some(30), false));
    let rebuild = together(&[log(2, 100, 10, false), log(1, 30, 1, true)]);
    assert_eq!((rebuild.left_s, rebuild.stuck), (None, false));
    assert!(together(&[log(1, 30, 1, true), log(0, 0, 0, false)]).stuck);
    assert_eq!(together(&[]), Rebuild::default());
}
