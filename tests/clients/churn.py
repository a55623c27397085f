"""Ten thousand connections, opened and closed in the middle of anything: then the server holds what it held before.

RINGGATE_ADDRESS names the server, RINGGATE_PID its process.
"""

import os
import re
import socket
import struct
import time
import urllib.request

address = os.environ["RINGGATE_ADDRESS"]
host, port = address.rsplit(":", 1)
GAUGES = ("connections_open", "runtime_buffers_lent", "runtime_sockets", "runtime_tasks")
TALKS = (
    b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /he",
    b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc",
    b"GET /sleep?ms=50 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /sleep-blocking?ms=5 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"",
    b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"\x16\x03\x01",
)


def held():
    descriptors = os.listdir(f"/proc/{os.environ['RINGGATE_PID']}/fd")
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        page = answer.read().decode()
    values = {name: int(re.search(rf"ringgate_{name}{{core=\"0\"}} (\d+)", page)[1]) for name in GAUGES}
    return values | {"descriptors": len(descriptors)}


def settled(is_so):
    """What is held when it is so, or after ten seconds."""
    for _ in range(100):
        now = held()
        if is_so(now):
            break
        time.sleep(0.1)
    return now


# The clients before this one may have left something to be noticed.
before = settled(lambda now: now["connections_open"] == 1)
for _ in range(100):
    sockets = []
    for number in range(100):
        sockets.append(socket.create_connection((host, int(port)), timeout=20))
        sockets[-1].sendall(TALKS[number % len(TALKS)])
    for number, one in enumerate(sockets):
        if number % 3 == 0:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
after = settled(lambda now: all(now[name] <= before[name] for name in before))
assert all(after[name] <= before[name] for name in before), f"before {before}, after {after}"
print("churn: 10,000 connections have left nothing behind")
