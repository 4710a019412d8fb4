# Run by nbdsh with `h` connected: every command and flag of the export, and what it must refuse.
import errno

size = h.get_size()
assert size == 256 << 20, size
assert h.get_structured_replies_negotiated()
assert h.can_meta_context("base:allocation")
for can in [h.can_flush, h.can_fua, h.can_trim, h.can_zero, h.can_fast_zero, h.can_df, h.can_multi_conn, h.can_cache]:
    assert can(), can
assert not h.is_read_only()
assert h.get_block_size(nbd.SIZE_MINIMUM) in (0, 1, 512), h.get_block_size(nbd.SIZE_MINIMUM)
assert h.get_block_size(nbd.SIZE_PREFERRED) == 4096


def extents(offset, length):
    found = []

    def extent(context, position, entries, error):
        for index in range(0, len(entries), 2):
            found.append((entries[index], entries[index + 1]))

    h.block_status(length, offset, extent)
    return found


# Nothing is written yet: one hole that reads as zeroes.
HOLE_ZERO = nbd.STATE_HOLE | nbd.STATE_ZERO
assert all(flags == HOLE_ZERO for _, flags in extents(0, 1 << 20)), extents(0, 1 << 20)
assert h.pread(8192, 4096) == bytearray(8192)

data = bytearray(index * 7 % 251 for index in range(65536))
h.pwrite(data, 0)
h.pwrite(data[:512], 1 << 20, nbd.CMD_FLAG_FUA)
assert h.pread(65536, 0) == data
assert h.pread(512, 1 << 20) == data[:512]
assert h.pread(3584, (1 << 20) + 512) == bytearray(3584)
assert extents(0, 65536)[0][1] == 0

# A structured read in pieces, and one that must come in one piece.
pieces = bytearray(131072)


def piece(buffer, offset, status, error):
    pieces[offset:offset + len(buffer)] = buffer if status == nbd.READ_DATA else bytearray(len(buffer))


h.pread_structured(131072, 0, piece)
assert pieces == data + bytearray(65536)
count = 0


def one(buffer, offset, status, error):
    global count
    count += 1


h.pread_structured(65536, 0, one, nbd.CMD_FLAG_DF)
assert count == 1, count

h.zero(4096, 4096)
assert h.pread(4096, 4096) == bytearray(4096)
h.zero(4096, 8192, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
assert h.pread(4096, 8192) == bytearray(4096)
h.zero(512, 512)
assert h.pread(1536, 0) == data[:512] + bytearray(512) + data[1024:1536]
try:
    h.zero(65536, 16384, nbd.CMD_FLAG_FAST_ZERO)
    assert h.pread(65536, 16384) == bytearray(65536)
except nbd.Error as error:
    assert error.errnum == errno.ENOTSUP, error

h.pwrite(data, 2 << 20)
h.trim(65536, 2 << 20)
assert h.pread(65536, 2 << 20) == bytearray(65536)
assert extents(2 << 20, 65536)[0][1] == HOLE_ZERO
h.trim(1 << 20, 4 << 20, nbd.CMD_FLAG_FUA)
h.cache(65536, 0)
h.flush()

# Many requests in flight on one connection.
buffers = [nbd.Buffer.from_bytearray(bytearray([index]) * 4096) for index in range(64)]
cookies = [h.aio_pwrite(buffer, (8 << 20) + index * 4096) for index, buffer in enumerate(buffers)]
while h.aio_in_flight() > 0:
    h.poll(-1)
for cookie in cookies:
    assert h.aio_command_completed(cookie)
for index in range(64):
    assert h.pread(4096, (8 << 20) + index * 4096) == bytearray([index]) * 4096

# What cannot be must be refused by the server, and the connection must live on.
h.set_strict_mode(h.get_strict_mode() & ~(nbd.STRICT_BOUNDS | nbd.STRICT_ALIGN | nbd.STRICT_FLAGS))
for wrong in [lambda: h.pread(4096, size), lambda: h.pwrite(data, size - 512), lambda: h.trim(4096, size),
              lambda: h.zero(1 << 20, size - 4096)]:
    try:
        wrong()
    except nbd.Error as error:
        assert error.errnum in (errno.EINVAL, errno.ENOSPC), error
    else:
        raise AssertionError("a request outside the volume was accepted")
assert h.pread(512, 0) == data[:512]
