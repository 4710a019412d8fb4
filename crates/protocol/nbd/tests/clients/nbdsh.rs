//! Scripts for nbdsh: requests that no well-behaved tool would send.

use crate::fixture::{Fixture, run};

/// Helpers of every script. `h` is connected to `uri`.
const PRELUDE: &str = r#"
import errno
def fails(expected, function, *arguments, **more):
    try:
        function(*arguments, **more)
    except nbd.Error as error:
        assert error.errno == expected, (expected, error.errno, error.string)
        return
    assert False, "it should have failed with " + expected
"#;

/// Runs a script with `uri` and `size` set.
fn nbdsh(uri: &str, script: &str) {
    let setup = format!("uri = {uri:?}\nsize = 64 << 20\n");
    run("nbdsh", &["-c", &setup, "-c", PRELUDE, "-c", script]);
}

fn on_both_cores(script: &str) {
    let fixture = Fixture::new();
    nbdsh(&fixture.node.uri("disk"), script);
    nbdsh(&fixture.node.tcp_uri("far"), script);
}

#[test]
fn malformed_requests_get_errors_and_the_session_goes_on() {
    on_both_cores(
        r#"
h.connect_uri(uri)
h.set_strict_mode(0)
h.pwrite(b'a' * 4096, 0)
for offset, count in [(size, 512), (size - 512, 1024), (1 << 62, 512), (100, 512), (0, 100)]:
    fails('EINVAL', h.pread, count, offset)
    fails('EINVAL', h.trim, count, offset)
    fails('EINVAL', h.cache, count, offset)
for offset, count in [(size, 512), (size - 512, 1024), (size - 4096, 8 << 20)]:
    fails('ENOSPC', h.pwrite, b'x' * count, offset)
    fails('ENOSPC', h.zero, count, offset)
fails('EINVAL', h.pwrite, b'x' * 100, 0)
fails('EINVAL', h.pwrite, b'x' * 512, 7)
fails('EINVAL', h.pread, 512, 0, flags=nbd.CMD_FLAG_NO_HOLE)
fails('EINVAL', h.pwrite, b'x' * 512, 0, flags=nbd.CMD_FLAG_DF)
fails('EINVAL', h.trim, 512, 0, flags=nbd.CMD_FLAG_FAST_ZERO)
fails('EINVAL', h.pread, 512, 0, flags=1 << 12)
fails('EOVERFLOW', h.pread, (32 << 20) + 512, 0)
fails('EINVAL', h.block_status, 512, 0, lambda *_: 0)
assert h.pread(4096, 0) == b'a' * 4096
h.shutdown()
"#,
    );
}

#[test]
fn every_flag_does_what_it_says() {
    on_both_cores(
        r#"
h.add_meta_context('base:allocation')
h.connect_uri(uri)
assert h.can_meta_context('base:allocation')
h.pwrite(b'a' * 8192, 4096, flags=nbd.CMD_FLAG_FUA)
h.pwrite(b'b' * (1 << 20), 1 << 20)
chunks = []
def chunk(data, offset, status, error):
    chunks.append((len(data), offset, status))
assert h.pread_structured(8192, 4096, chunk, flags=nbd.CMD_FLAG_DF) == b'a' * 8192
whole = h.pread_structured(32 << 20, 0, chunk, flags=nbd.CMD_FLAG_DF)
assert whole[1 << 20:2 << 20] == b'b' * (1 << 20)
assert chunks == [(8192, 4096, nbd.READ_DATA), (32 << 20, 0, nbd.READ_DATA)], chunks
found = []
def extent(context, offset, entries, error):
    found.append((context, offset, entries))
h.block_status(1 << 20, 0, extent)
assert found == [('base:allocation', 0, [4096, 3, 8192, 0, (1 << 20) - 12288, 3])], found
found.clear()
h.block_status(1 << 20, 512, extent, flags=nbd.CMD_FLAG_REQ_ONE)
assert found == [('base:allocation', 512, [3584, 3])], found
h.zero(4096, 4096, flags=nbd.CMD_FLAG_FAST_ZERO)
h.zero(4096, 8192, flags=nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
fails('ENOTSUP', h.zero, 4096, 0, flags=nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
found.clear()
h.block_status(16384, 0, extent)
assert found == [('base:allocation', 0, [8192, 3, 4096, 0, 4096, 3])], found
h.trim(64 << 20, 0, flags=nbd.CMD_FLAG_FUA)
h.cache(64 << 20, 0)
h.flush()
assert h.pread(1 << 20, 1 << 20) == bytes(1 << 20)
h.shutdown()
"#,
    );
}

#[test]
fn simple_replies_serve_clients_that_know_no_others() {
    on_both_cores(
        r#"
h.set_request_structured_replies(False)
h.connect_uri(uri)
assert not h.get_structured_replies_negotiated()
assert not h.can_df()
h.pwrite(b'z' * 65536, 0)
assert h.pread(65536, 0) == b'z' * 65536
h.set_strict_mode(0)
fails('EINVAL', h.pread, 512, size)
fails('EINVAL', h.pread, 512, 0, flags=nbd.CMD_FLAG_DF)
assert h.pread(512, 0) == b'z' * 512
h.shutdown()
"#,
    );
}

#[test]
fn options_can_be_tried_before_going() {
    let fixture = Fixture::new();
    nbdsh(
        &fixture.node.uri("disk"),
        r#"
h.set_opt_mode(True)
h.set_full_info(True)
h.connect_uri(uri)
names = []
h.opt_list(lambda name, description: names.append(name))
assert names == ['a b/ü', 'disk', 'far', 'fixed'], names
h.set_export_name('nope')
fails('ENOENT', h.opt_info)
fails('ENOENT', h.opt_go)
h.set_export_name('fixed')
h.opt_info()
assert h.is_read_only()
assert h.get_canonical_export_name() == 'fixed'
assert h.get_export_description() == 'volume fixed of 64 MiB'
assert h.get_block_size(nbd.SIZE_MINIMUM) == 512
contexts = []
h.opt_list_meta_context(contexts.append)
assert contexts == ['base:allocation'], contexts
h.opt_go()
h.set_strict_mode(0)
fails('EPERM', h.pwrite, b'x' * 512, 0)
fails('EPERM', h.trim, 512, 0)
fails('EPERM', h.zero, 512, 0)
h.flush()
h.shutdown()
"#,
    );
}

#[test]
fn a_client_that_never_reads_stops_nobody() {
    on_both_cores(
        r#"
dead = nbd.NBD()
dead.connect_uri(uri)
# Requests leave only as far as the socket takes them; nobody ever reads the replies.
buffers = [nbd.Buffer(1 << 20) for _ in range(300)]
cookies = [dead.aio_pread(buffer, 0) for buffer in buffers]
live = nbd.NBD()
live.connect_uri(uri)
for i in range(200):
    live.pwrite(bytes([i]) * 65536, i * 65536)
    assert live.pread(65536, i * 65536) == bytes([i]) * 65536
live.shutdown()
"#,
    );
}

#[test]
fn many_requests_at_once_over_many_connections() {
    on_both_cores(
        r#"
handles = [nbd.NBD() for _ in range(4)]
for handle in handles:
    handle.connect_uri(uri)
    assert handle.can_multi_conn()
def wait(handle, cookies):
    while cookies:
        cookies = [cookie for cookie in cookies if not handle.aio_command_completed(cookie)]
        if cookies:
            handle.poll(-1)
data = [nbd.Buffer.from_bytearray(bytearray([i]) * 4096) for i in range(250)]
for round in range(4):
    cookies = [[handle.aio_pwrite(data[i], (part * 250 + i) * 4096) for i in range(250)]
               for part, handle in enumerate(handles)]
    for handle, mine in zip(handles, cookies):
        wait(handle, mine)
handles[0].flush()
back = [nbd.Buffer(4096) for _ in range(250)]
for part, handle in enumerate(handles):
    other = handles[(part + 1) % 4]
    wait(other, [other.aio_pread(back[i], (part * 250 + i) * 4096) for i in range(250)])
    for i in range(250):
        assert back[i].to_bytearray() == bytearray([i]) * 4096
for handle in handles:
    handle.shutdown()
"#,
    );
}
