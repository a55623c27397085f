"""Bytes that no honest client sends, over raw sockets: the right status, and a closed connection where framing is in doubt.

RINGGATE_ADDRESS names the server. The rules are those of RFC 9110 and 9112 in their strict reading.
"""

import os
import socket
import sys
import time

HOST, PORT = os.environ["RINGGATE_ADDRESS"].rsplit(":", 1)
# What a smuggler wants to have answered as a request of its own. Its answer shows the marker.
SMUGGLED = b"GET /echo?smuggled HTTP/1.1\r\nHost: a\r\nX-Smuggled: yes\r\n\r\n"


def talk(pieces, timeout=5.0):
    """Sends the pieces, half-closes nothing, and reads until the server closes or is silent for a while.

    Returns what came and whether the server closed.
    """
    with socket.create_connection((HOST, int(PORT)), timeout) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        try:
            for number, piece in enumerate(pieces):
                if number and len(pieces) < 10:
                    time.sleep(0.05)  # so that the server sees the pieces apart
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has closed already; what it said is read below
        connection.settimeout(timeout)
        while True:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                return received, True
            except TimeoutError:
                return received, False
            if not data:
                return received, True
            received += data
            # A connection that stays open after an answer is only waited for briefly.
            connection.settimeout(1.0)


def head(fields, target=b"/echo", method=b"POST", version=b"HTTP/1.1", host=b"Host: a\r\n"):
    return method + b" " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n"

# The body turned out wrong after the answer had begun: a 200 whose own body must be left without an end.
CUT = 200

# Name, statuses that are right, bytes. Afterwards the connection has to be closed and SMUGGLED never answered.
REFUSED = [
    ("both lengths (CL.TE)", {400}, head(b"Content-Length: 6\r\n" + CHUNKED) + b"0\r\n\r\n"),
    ("both lengths (TE.CL)", {400}, head(CHUNKED + b"Content-Length: 3\r\n") + b"0\r\n\r\n"),
    ("two transfer codings", {400}, head(CHUNKED + CHUNKED) + b"0\r\n\r\n"),
    ("chunked twice in one line", {400}, head(b"Transfer-Encoding: chunked, chunked\r\n") + b"0\r\n\r\n"),
    ("chunked not last", {400, 501}, head(b"Transfer-Encoding: chunked, gzip\r\n") + b"0\r\n\r\n"),
    ("unknown coding", {400, 501}, head(b"Transfer-Encoding: xchunked\r\n") + b"0\r\n\r\n"),
    ("coding behind a vertical tab", {400, 501}, head(b"Transfer-Encoding: \x0bchunked\r\n") + b"0\r\n\r\n"),
    ("coding with a trailing comma", {400, 501}, head(b"Transfer-Encoding: chunked,\r\n") + b"0\r\n\r\n"),
    ("quoted coding", {400, 501}, head(b'Transfer-Encoding: "chunked"\r\n') + b"0\r\n\r\n"),
    ("coding in HTTP/1.0", {400}, head(CHUNKED, version=b"HTTP/1.0") + b"0\r\n\r\n"),
    ("space before the colon", {400}, head(b"Transfer-Encoding : chunked\r\n") + b"0\r\n\r\n"),
    ("two different lengths", {400}, head(b"Content-Length: 1\r\nContent-Length: 2\r\n") + b"ab"),
    ("two equal lengths", {400}, head(b"Content-Length: 1\r\nContent-Length: 1\r\n") + b"a"),
    ("length list", {400}, head(b"Content-Length: 5,5\r\n") + b"abcde"),
    ("length with a plus", {400}, head(b"Content-Length: +5\r\n") + b"abcde"),
    ("negative length", {400}, head(b"Content-Length: -5\r\n") + b"abcde"),
    ("hexadecimal length", {400}, head(b"Content-Length: 0x5\r\n") + b"abcde"),
    ("length with an underscore", {400}, head(b"Content-Length: 5_0\r\n") + b"abcde"),
    ("empty length", {400}, head(b"Content-Length: \r\n") + b""),
    ("length beyond 64 bits", {400, 413}, head(b"Content-Length: 18446744073709551617\r\n") + b"a"),
    ("no host", {400}, head(b"", method=b"GET", host=b"")),
    ("two hosts", {400}, head(b"Host: b\r\n", method=b"GET")),
    ("list of hosts", {400}, head(b"", method=b"GET", host=b"Host: a,b\r\n")),
    ("host with a user", {400}, head(b"", method=b"GET", host=b"Host: u@h\r\n")),
    ("bare line feeds", {400}, b"GET / HTTP/1.1\nHost: a\n\n"),
    ("bare carriage return in a value", {400}, head(b"X: a\rb\r\n", method=b"GET")),
    ("two carriage returns", {400}, head(b"X: a\r\r\n", method=b"GET")),
    ("zero byte in a value", {400}, head(b"X: a\0b\r\n", method=b"GET")),
    ("zero byte in the target", {400}, head(b"", method=b"GET", target=b"/a\0b")),
    ("folded line", {400}, head(b"X: a\r\n b\r\n", method=b"GET")),
    ("space before the first field", {400}, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("field without a colon", {400}, head(b"Nonsense\r\n", method=b"GET")),
    ("field without a name", {400}, head(b": a\r\n", method=b"GET")),
    ("two spaces in the request line", {400}, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("tab in the request line", {400}, b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("no version", {400}, b"GET /\r\n\r\n"),
    ("lower-case version", {400}, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("two-digit minor version", {400, 505}, b"GET / HTTP/1.10\r\nHost: a\r\n\r\n"),
    ("future major version", {505}, b"GET / HTTP/3.0\r\nHost: a\r\n\r\n"),
    ("fragment in the target", {400}, head(b"", method=b"GET", target=b"/a#b")),
    ("authority-form without CONNECT", {400}, head(b"", method=b"GET", target=b"a:80")),
    ("asterisk without OPTIONS", {400}, head(b"", method=b"GET", target=b"*")),
    ("unknown expectation", {417}, head(b"Expect: y 100-continue\r\nContent-Length: 1\r\n")),
    ("chunk size with 0x", {400, CUT}, head(CHUNKED) + b"0x1\r\na\r\n0\r\n\r\n"),
    ("chunk size with a plus", {400, CUT}, head(CHUNKED) + b"+1\r\na\r\n0\r\n\r\n"),
    ("chunk size with a space before it", {400, CUT}, head(CHUNKED) + b" 1\r\na\r\n0\r\n\r\n"),
    ("chunk size with a space after it", {400, CUT}, head(CHUNKED) + b"1 \r\na\r\n0\r\n\r\n"),
    ("chunk size missing", {400, CUT}, head(CHUNKED) + b"\r\na\r\n0\r\n\r\n"),
    ("chunk size beyond 64 bits", {400, 413, CUT}, head(CHUNKED) + b"10000000000000000\r\na\r\n0\r\n\r\n"),
    ("chunk line ended by a bare line feed", {400, CUT}, head(CHUNKED) + b"1\na\r\n0\r\n\r\n"),
    ("line feed in a chunk extension", {400, CUT}, head(CHUNKED) + b"1;a\nb\r\na\r\n0\r\n\r\n"),
    ("quoted chunk extension over two lines", {400, CUT}, head(CHUNKED) + b'1;a="\r\na\r\n0\r\n\r\n'),
    ("chunk longer than its size", {400, CUT}, head(CHUNKED) + b"1\r\nab\r\n0\r\n\r\n"),
    ("chunk data ended by a bare line feed", {400, CUT}, head(CHUNKED) + b"1\r\na\n0\r\n\r\n"),
    ("target too long", {414}, head(b"", method=b"GET", target=b"/" + b"a" * 9000)),
    ("field too long", {431}, head(b"X: " + b"a" * 9000 + b"\r\n", method=b"GET")),
    ("too many fields", {431}, head(b"".join(b"X%d: a\r\n" % number for number in range(150)), method=b"GET")),
    ("CONNECT with a body", {400, 405, 501}, head(b"Content-Length: 1\r\n", method=b"CONNECT", target=b"a:80") + b"a"),
]

# Name, bytes, how many answers with 2xx, whether the connection is closed then.
ACCEPTED = [
    ("pipelined", head(b"", method=b"GET", target=b"/hello") * 5, 5, False),
    ("coding in capitals", head(b"TRANSFER-ENCODING: CHUNKED\r\n") + b"1;a=b\r\na\r\n0\r\nT: x\r\n\r\n", 1, False),
    ("one empty line first", b"\r\n" + head(b"", method=b"GET", target=b"/hello"), 1, False),
    ("absolute-form", head(b"", method=b"GET", target=b"http://a/hello"), 1, False),
    ("nothing after close", head(b"Connection: close\r\n", method=b"GET", target=b"/hello")
     + head(b"", method=b"GET", target=b"/hello"), 1, True),
    ("HTTP/1.0 closes", head(b"", method=b"GET", target=b"/hello", version=b"HTTP/1.0"), 1, True),
    ("HTTP/1.0 keeps alive when asked", head(b"Connection: keep-alive\r\n", method=b"GET", target=b"/hello",
     version=b"HTTP/1.0") * 2, 2, False),
    ("declined upgrade is an ordinary request", head(b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n", method=b"GET",
     target=b"/hello") + head(b"", method=b"GET", target=b"/hello"), 2, False),
]

# A body that nobody reads must never be taken for a request (S-05, S-06): whichever kind of handler answered, and
# whether the body came with the head, after it, or half with it. Either it is consumed and the next request
# answered, or the connection is closed after the answer; nothing else may follow.
UNREAD = [
    (path, name, pieces)
    for path in (b"/hello", b"/hello-async", b"/hello-blocking", b"/json")
    for framing, fields, body in (
        ("sized", b"Content-Length: 5\r\n", b"abcde"),
        ("chunked", CHUNKED, b"5\r\nabcde\r\n0\r\n\r\n"),
        ("sized, itself a request", b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED),
    )
    for name, pieces in (
        (f"{framing}, with its head", [head(fields, path, b"GET") + body + head(b"", path, b"GET")]),
        (f"{framing}, after its head", [head(fields, path, b"GET"), body + head(b"", path, b"GET")]),
        (f"{framing}, half of it with its head", [head(fields, path, b"GET") + body[:3], body[3:] + head(b"", path, b"GET")]),
    )
]


def status(answer):
    try:
        return int(answer.split(b" ", 2)[1])
    except (IndexError, ValueError):
        return None


def successes(answer):
    return sum(answer.count(b"HTTP/1.%d 2%02d" % (minor, code)) for minor in (0, 1) for code in (0, 4))


def main():
    problems = []
    passed = 0
    for name, statuses, attack in REFUSED:
        for way, pieces in (("whole", [attack + SMUGGLED]), ("byte by byte", [bytes([b]) for b in attack[:3000]] + [attack[3000:]])):
            answer, closed = talk(pieces)
            if status(answer) not in statuses:
                problems.append(f"{name}, {way}: wanted {sorted(statuses)}, got {answer[:120]!r}")
            elif not closed:
                problems.append(f"{name}, {way}: the connection was left open")
            elif status(answer) == CUT and answer.endswith(b"0\r\n\r\n"):
                problems.append(f"{name}, {way}: the answer to a broken body looks complete: {answer!r}")
            elif b"X-Smuggled" in answer or successes(answer) > (status(answer) == CUT):
                problems.append(f"{name}, {way}: what followed was answered: {answer!r}")
            else:
                passed += 1
    for name, data, count, closes in ACCEPTED:
        answer, closed = talk([data])
        if successes(answer) != count:
            problems.append(f"{name}: wanted {count} answers, got {successes(answer)}: {answer[:300]!r}")
        elif closed != closes:
            problems.append(f"{name}: the connection was {'closed' if closed else 'left open'}")
        else:
            passed += 1
    for path, name, pieces in UNREAD:
        answer, closed = talk(pieces)
        answers = answer.count(b"HTTP/1.1 ")
        if successes(answer) == answers and (answers == 2 or (answers == 1 and closed)) and b"X-Smuggled" not in answer:
            passed += 1
        else:
            problems.append(f"unread body to {path.decode()}, {name}: {answers} answers, {answer!r}")
    # After all that, an ordinary request is answered as ever.
    answer, _ = talk([head(b"", method=b"GET", target=b"/hello")])
    if not answer.endswith(b"Hello, World!"):
        problems.append(f"the server no longer answers: {answer[:120]!r}")
    for problem in problems:
        print("FAILED:", problem, file=sys.stderr)
    print(f"hostile: {passed} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
