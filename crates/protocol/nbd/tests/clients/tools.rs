//! nbdinfo, nbdcopy, qemu-img, qemu-io.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, SIZE, run, sparse_bytes, try_run};

#[test]
fn nbdinfo_sees_what_is_offered() {
    let fixture = Fixture::new();
    for uri in [fixture.node.uri("disk"), fixture.node.tcp_uri("disk"), fixture.node.uri("far")] {
        let info = run("nbdinfo", &[&uri]);
        for line in [
            "export-size: 67108864",
            "can_flush: true",
            "can_fua: true",
            "can_multi_conn: true",
            "can_trim: true",
            "can_zero: true",
            "can_fast_zero: true",
            "can_cache: true",
            "can_df: true",
            "is_read_only: false",
            "block_size_minimum: 512",
            "block_size_preferred: 4096",
            "block_size_maximum: 33554432",
            "using structured packets",
            "base:allocation",
        ] {
            assert!(info.contains(line), "{line} is not in {info}");
        }
    }
    assert!(run("nbdinfo", &[&fixture.node.uri("fixed")]).contains("is_read_only: true"));
    let (success, _) = try_run("nbdinfo", &[&fixture.node.uri("nope")]);
    assert!(!success);
}

#[test]
fn nbdinfo_lists_every_export() {
    let fixture = Fixture::new();
    let list = run("nbdinfo", &["--list", "--json", &fixture.node.uri("")]);
    for name in ["disk", "far", "fixed", "a b/ü"] {
        assert!(list.contains(&format!("\"export-name\": \"{name}\"")), "{name} is not in {list}");
    }
    assert!(list.contains("volume disk of 64 MiB"), "{list}");
    assert_eq!(run("nbdinfo", &["--size", &fixture.node.uri("a b/ü")]).trim(), "1048576");
}

#[test]
fn nbdcopy_brings_an_image_there_and_back() {
    let fixture = Fixture::new();
    let image = fixture.file("image", &sparse_bytes());
    let copy = fixture.directory.path().join("copy");
    let (image, copy) = (image.to_str().expect("a text"), copy.to_str().expect("a text"));
    for uri in [fixture.node.uri("disk"), fixture.node.tcp_uri("far")] {
        run("nbdcopy", &["--connections=4", "--requests=64", image, &uri]);
        run("nbdcopy", &["--connections=4", &uri, copy]);
        assert!(std::fs::read(image).expect("the image") == std::fs::read(copy).expect("the copy"));
        let map = run("nbdinfo", &["--map", "--totals", &uri]);
        assert!(map.contains("hole,zero") && map.contains("data"), "{map}");
        // 4096 is the granule of the volume, so the map shows exactly where the image has data.
        let map = run("nbdinfo", &["--map", &uri]);
        assert!(map.lines().count() > 20 && map.trim_start().starts_with('0'), "{map}");
    }
    let (near, far) = (fixture.node.uri("disk"), fixture.node.uri("far"));
    run("qemu-img", &["compare", "-f", "raw", "-F", "raw", &near, &far]);
}

#[test]
fn qemu_img_converts_and_compares() {
    let fixture = Fixture::new();
    let image = fixture.file("image", &sparse_bytes());
    let image = image.to_str().expect("a text");
    for uri in [fixture.node.uri("disk"), fixture.node.tcp_uri("far")] {
        let info = run("qemu-img", &["info", &uri]);
        assert!(info.contains("virtual size: 64 MiB (67108864 bytes)"), "{info}");
        run("qemu-img", &["convert", "-n", "-f", "raw", "-O", "raw", "-W", "-m", "16", image, &uri]);
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", image, &uri]);
        let map = run("qemu-img", &["map", "--output=json", &uri]);
        assert!(map.contains("\"zero\": true") && map.contains("\"data\": true"), "{map}");
        run(
            "qemu-img",
            &["bench", "-f", "raw", "-w", "-c", "2000", "-d", "32", "--flush-interval=100", &uri],
        );
        run("qemu-img", &["bench", "-f", "raw", "-c", "2000", "-d", "64", "-s", "65536", &uri]);
    }
}

#[test]
fn qemu_io_writes_zeroes_and_discards() {
    let fixture = Fixture::new();
    for uri in [fixture.node.uri("disk"), fixture.node.uri("far")] {
        let io = |command: &str| {
            let output = run("qemu-io", &["-f", "raw", "-c", command, &uri]);
            assert!(!output.contains("failed") && !output.contains("error"), "{command}: {output}");
        };
        io("write -P 0x11 0 1M");
        io("write -f -P 0x22 4k 4k");
        io("read -P 0x11 0 4k");
        io("read -P 0x22 4k 4k");
        io("write -z 8k 4k");
        io("write -z -u 16k 512k");
        io("write -z 1M 63M");
        // "No fallback" is FAST_ZERO, which needs leave to unmap.
        io("write -z -u -n 1M 63M");
        let (success, slow) = try_run("qemu-io", &["-f", "raw", "-c", "write -z -n 1M 63M", &uri]);
        assert!(!success || slow.contains("Operation not supported"), "{slow}");
        io("read -P 0 8k 4k");
        io("read -P 0 16k 512k");
        io("discard 0 64M");
        io("flush");
        io("aio_write -P 0x33 2M 8M");
        io("read -P 0x33 2M 8M");
    }
    let output = try_run("qemu-io", &["-f", "raw", "-c", "write 0 4k", &fixture.node.uri("fixed")]);
    assert!(!output.0 || output.1.contains("error") || output.1.contains("Read-only"), "{output:?}");
}

#[test]
fn many_connections_see_each_other_and_leave() {
    let fixture = Fixture::new();
    let uri = fixture.node.uri("far");
    std::thread::scope(|scope| {
        for part in 0..8 {
            let uri = &uri;
            scope.spawn(move || {
                let (pattern, at) = (part + 1, part * 8);
                run("qemu-io", &["-f", "raw", "-c", &format!("write -P {pattern} {at}M 8M"), uri]);
            });
        }
    });
    for part in 0..8 {
        let command = format!("read -P {} {}M 8M", part + 1, part * 8);
        let output = run("qemu-io", &["-f", "raw", "-c", &command, &uri]);
        assert!(!output.contains("failed"), "{output}");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fixture.node.exports.sessions().is_empty() {
        assert!(Instant::now() < deadline, "every session ends with its client");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(SIZE, 8 * (8 << 20));
}
