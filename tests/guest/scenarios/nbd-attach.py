"""Attaches an NBD export to /dev/nbdN, and again whenever the connection is lost: nbd-attach.py N HOST PORT EXPORT

nbd-client gives up with the connection, and the kernel then fails what is under way. Over netlink the kernel can be told to wait,
and be given a new connection in time (NBD_CMD_RECONFIGURE, nbd-netlink.h). SIGTERM detaches.
"""

import select
import signal
import socket
import struct
import sys
import time

CONNECTIONS = 2
BLOCK_BYTES = 4096
# What is under way is sent again over a new connection after this long; what waits for a connection fails after that long.
REQUEST_SECONDS = 3
PATIENCE_SECONDS = 600

CONNECT, DISCONNECT, RECONFIGURE = 1, 2, 3
INDEX, SIZE, BLOCK_SIZE, TIMEOUT, SERVER_FLAGS, SOCKETS, DEAD_TIMEOUT = 1, 2, 3, 4, 5, 7, 8


def negotiate(host, port, export):
    """A connection in its transmission phase, the size of the export and its flags."""
    connection = socket.create_connection((host, port), timeout=5)

    def take(count):
        data = b""
        while len(data) < count:
            more = connection.recv(count - len(data))
            if not more:
                raise OSError("the server has closed the connection")
            data += more
        return data

    take(16)
    no_zeroes = struct.unpack(">H", take(2))[0] & 2
    connection.sendall(struct.pack(">I", 1 | no_zeroes))
    name = export.encode()
    data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    connection.sendall(b"IHAVEOPT" + struct.pack(">II", 7, len(data)) + data)
    size = flags = None
    while True:
        _, _, kind, length = struct.unpack(">QIII", take(20))
        payload = take(length)
        if kind == 1:
            break
        if kind != 3:
            raise OSError(f"the server refuses the export: {payload!r}")
        if payload[:2] == b"\0\0":
            size, flags = struct.unpack(">QH", payload[2:12])
    connection.settimeout(None)
    return connection, size, flags


class Netlink:
    """Commands to the kernel's generic netlink family `nbd`."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.socket.bind((0, 0))
        answer = self.ask(16, 3, attribute(2, b"nbd\0"))
        at = 0
        while at < len(answer):
            length, kind = struct.unpack_from("HH", answer, at)
            if kind == 1:
                self.family = struct.unpack_from("H", answer, at + 4)[0]
            at += (length + 3) & ~3

    def ask(self, family, command, attributes):
        body = struct.pack("BBH", command, 1, 0) + attributes
        # NLM_F_REQUEST | NLM_F_ACK
        self.socket.send(struct.pack("IHHII", 16 + len(body), family, 5, 1, 0) + body)
        answer = b""
        while True:
            data = self.socket.recv(65536)
            while data:
                length, kind = struct.unpack_from("IH", data)
                if kind == 2:
                    error = struct.unpack_from("i", data, 16)[0]
                    if error:
                        raise OSError(-error, f"the kernel refuses NBD command {command}")
                    return answer
                answer += data[20:length]
                data = data[(length + 3) & ~3 :]


def attribute(kind, data):
    length = 4 + len(data)
    return struct.pack("HH", length, kind) + data + bytes(-length % 4)


def number(kind, value):
    return attribute(kind, struct.pack("Q", value))


def sockets(connections):
    items = (attribute(1, attribute(1, struct.pack("I", connection.fileno()))) for connection in connections)
    return attribute(SOCKETS, b"".join(items))


def attach(index, host, port, export):
    first, size, flags = negotiate(host, port, export)
    connections = [first] + [negotiate(host, port, export)[0] for _ in range(CONNECTIONS - 1)]
    netlink = Netlink()
    which = attribute(INDEX, struct.pack("I", index))
    settings = number(SIZE, size) + number(BLOCK_SIZE, BLOCK_BYTES) + number(SERVER_FLAGS, flags)
    patience = number(TIMEOUT, REQUEST_SECONDS) + number(DEAD_TIMEOUT, PATIENCE_SECONDS)
    netlink.ask(netlink.family, CONNECT, which + settings + patience + sockets(connections))

    def detach(*_):
        netlink.ask(netlink.family, DISCONNECT, which)
        sys.exit(0)

    signal.signal(signal.SIGTERM, detach)
    print("attached", flush=True)
    watch = select.poll()
    for connection in connections:
        watch.register(connection, select.POLLRDHUP)
    by_number = {connection.fileno(): connection for connection in connections}
    while True:
        for lost, _ in watch.poll():
            watch.unregister(lost)
            by_number.pop(lost).close()
            while True:
                try:
                    connection, size, _ = negotiate(host, port, export)
                    netlink.ask(netlink.family, RECONFIGURE, which + number(SIZE, size) + patience + sockets([connection]))
                    break
                except OSError as error:
                    print(error, flush=True)
                    time.sleep(0.2)
            by_number[connection.fileno()] = connection
            watch.register(connection, select.POLLRDHUP)


if __name__ == "__main__":
    attach(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
