"""Clients and plain sockets by Python's standard library.

Usage: client.py "CASE..." HOST PORT [OWN]. OWN is the pod's own address, or what the
case needs beside. It fails with a traceback that names the case, or says "ok".
"""
import asyncio
import errno
import hashlib
import http.client
import json
import select
import smtplib
import socket
import struct
import sys
import urllib.request

TIMEOUT = 20


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def connected(host, port, kind=socket.SOCK_STREAM):
    s = socket.socket(family(host), kind)
    s.settimeout(TIMEOUT)
    s.connect((host, port))
    return s


def read_all(s):
    data = b""
    while chunk := s.recv(65536):
        data += chunk
    return data


def counted(s, n):
    """The server of these cases says how many bytes came once our side is shut."""
    s.sendall(b"x" * n)
    s.shutdown(socket.SHUT_WR)
    got = read_all(s)
    assert got == b"%d\n" % n, got


# HTTP.

def http_client(host, port):
    c = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    c.connect()
    first = c.sock
    for i in range(5):
        c.request("POST", "/py?i=%d" % i, body=b"b" * 1000 * i, headers={"X-I": str(i)})
        r = c.getresponse()
        saw = json.loads(r.read())
        assert r.status == 200 and saw["bytes"] == 1000 * i and saw["headers"]["x-i"] == str(i), saw
        assert c.sock is first, "the connection was not kept"
    c.request("PUT", "/chunks", body=(b"chunk" for _ in range(100)), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    saw = json.loads(c.getresponse().read())
    assert saw["sha256"] == hashlib.sha256(b"chunk" * 100).hexdigest(), saw
    c.request("HEAD", "/")
    r = c.getresponse()
    assert r.read() == b"" and int(r.headers["content-length"]) > 0
    c.request("GET", "/stream")
    assert c.getresponse().read().endswith(b"chunk 999\n")


def urllib_client(host, port):
    base = "http://%s:%d" % ("[%s]" % host if ":" in host else host, port)
    with urllib.request.urlopen(base + "/u", timeout=TIMEOUT) as r:
        assert json.load(r)["headers"]["user-agent"].startswith("Python-urllib")
        assert r.headers["connection"] == "close", "urllib asks to close: %s" % r.headers
    with urllib.request.urlopen(urllib.request.Request(base + "/u", data=b"a=b"), timeout=TIMEOUT) as r:
        assert json.load(r)["bytes"] == 3


def raw_half_closed(host, port):
    """What "printf ... | nc -N" does: the request, our side shut, then the answer."""
    s = connected(host, port)
    s.sendall(b"GET /half HTTP/1.1\r\nHost: a\r\n\r\n")
    s.shutdown(socket.SHUT_WR)
    got = read_all(s)
    assert got.startswith(b"HTTP/1.1 200") and b'"url":"/half"' in got, got


def raw_pipelined(host, port):
    s = connected(host, port)
    s.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(50)) + b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    got = read_all(s)
    urls = [part.split(b'"')[0] for part in got.split(b'"url":"')[1:]]
    assert urls == [b"/%d" % i for i in range(50)] + [b"/last"], urls


# Sockets.

def names(host, port, own):
    s = connected(host, port)
    assert s.getpeername()[:2] == (host, port), s.getpeername()
    assert s.getsockname()[0] == own, s.getsockname()
    counted(s, 10)


def mapped(host, port, own):
    """An AF_INET6 socket to an IPv4 address."""
    s = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    s.settimeout(TIMEOUT)
    s.connect(("::ffff:" + host, port))
    assert s.getpeername()[:2] == ("::ffff:" + host, port), s.getpeername()
    assert s.getsockname()[0] == "::ffff:" + own, s.getsockname()
    counted(s, 10)


def bound(host, port, own):
    s = socket.socket(family(host), socket.SOCK_STREAM)
    s.settimeout(TIMEOUT)
    s.bind((own, 0))
    source = s.getsockname()
    s.connect((host, port))
    assert s.getsockname()[:2] == source[:2], (s.getsockname(), source)
    counted(s, 10)


def nonblocking(host, port):
    s = socket.socket(family(host), socket.SOCK_STREAM)
    s.setblocking(False)
    e = s.connect_ex((host, port))
    assert e in (0, errno.EINPROGRESS), errno.errorcode[e]
    poll = select.epoll()
    poll.register(s.fileno(), select.EPOLLOUT)
    assert poll.poll(TIMEOUT), "never writable"
    assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert s.getpeername()[0] == host
    s.send(b"abc")
    s.shutdown(socket.SHUT_WR)
    poll.modify(s.fileno(), select.EPOLLIN | select.EPOLLET)
    assert poll.poll(TIMEOUT), "never readable"
    assert s.recv(100) == b"3\n"


def half_close(host, port):
    """A megabyte up, our side shut, then the answer."""
    counted(connected(host, port), 1 << 20)


def at_once_closed(host, port):
    """Connect and shut without a word: the server still answers."""
    counted(connected(host, port), 0)


def byte_by_byte(host, port):
    s = connected(host, port)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(200):
        s.send(b"G")
    s.shutdown(socket.SHUT_WR)
    assert read_all(s) == b"200\n"


def asyncio_streams(host, port):
    async def one(n):
        reader, writer = await asyncio.open_connection(host, port)
        assert writer.get_extra_info("peername")[0] == host
        writer.write(b"y" * n)
        await writer.drain()
        writer.write_eof()
        assert await reader.read() == b"%d\n" % n
        writer.close()
        await writer.wait_closed()

    async def all_of_them():
        await asyncio.wait_for(asyncio.gather(*(one(n * 1000 + 1) for n in range(20))), TIMEOUT)

    asyncio.run(all_of_them())


def fast_open(host, port):
    """The connect is in the sendto; a first one without a cookie blocks."""
    s = socket.socket(family(host), socket.SOCK_STREAM)
    s.sendto(b"early", socket.MSG_FASTOPEN, (host, port))
    assert s.getpeername()[0] == host, s.getpeername()
    counted_more(s, 5)


def counted_more(s, before):
    s.shutdown(socket.SHUT_WR)
    assert read_all(s) == b"%d\n" % before


def again(host, port):
    """A socket is disconnected (AF_UNSPEC) and connected anew."""
    s = connected(host, port)
    counted(s, 1)
    libc_connect_unspec(s)
    s.connect((host, port))
    assert s.getpeername()[0] == host
    counted(s, 7)


def libc_connect_unspec(s):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    address = struct.pack("H14x", socket.AF_UNSPEC)
    assert libc.connect(s.fileno(), address, len(address)) == 0, ctypes.get_errno()


def multipath(host, port):
    """MPTCP (RFC 8684), which falls back to TCP where the peer has none."""
    s = socket.socket(family(host), socket.SOCK_STREAM, 262)
    s.settimeout(TIMEOUT)
    s.connect((host, port))
    counted(s, 10)


def device(host, port, name):
    s = socket.socket(family(host), socket.SOCK_STREAM)
    s.settimeout(TIMEOUT)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
    s.connect((host, port))
    counted(s, 10)


# Datagrams.

def udp(host, port):
    s = connected(host, port, socket.SOCK_DGRAM)
    assert s.getpeername()[:2] == (host, port), s.getpeername()
    s.send(b"ping")
    assert s.recv(100) == b"ping", "no echo"
    u = socket.socket(family(host), socket.SOCK_DGRAM)
    u.settimeout(TIMEOUT)
    u.sendto(b"pong", (host, port))
    got, sender = u.recvfrom(100)
    assert got == b"pong" and sender[:2] == (host, port), (got, sender)


def udp_server(_, port):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", port))
    print("listening", flush=True)
    while True:
        s.sendto(*s.recvfrom(2000))


def smtp(host, port):
    with smtplib.SMTP(host, port, timeout=TIMEOUT) as s:
        s.sendmail("a@example.test", ["b@example.test"], "Subject: x\r\n\r\nby smtplib\r\n")


if __name__ == "__main__":
    for case in sys.argv[1].split():
        f = globals()[case]
        f(sys.argv[2], int(sys.argv[3]), *sys.argv[4:f.__code__.co_argcount + 2])
    print("ok")
