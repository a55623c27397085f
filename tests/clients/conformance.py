"""Does the server keep to RFC 9110 and 9112 where conformance suites look? Raw bytes out; a strict parser for what comes in.

RINGGATE_ADDRESS names the showcase. Attacks whose answer is a closed connection are in hostile.py too; here is what is not
there, and above all what must be answered, waited for, or left alone. Each case names the section that decides it. What to
ask was partly learnt from Http11Probe (MDA2AV/Http11Probe) and from the two suites called h1spec (dropseed, uNetworking).
"""

import concurrent.futures
import os
import random
import re
import socket
import sys
import time

HOST, PORT = os.environ["RINGGATE_ADDRESS"].rsplit(":", 1)
FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\t\x20-\x7e\x80-\xff]*)\Z")
DATE = re.compile(rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d\d:\d\d:\d\d GMT\Z")
# Sent behind what must be the end of a connection. Its answer would show the marker.
NEXT = b"GET /echo HTTP/1.1\r\nHost: a\r\nX-Marker: next\r\n\r\n"


class Answer:
    """One response, taken off the front of what came. Anything that RFC 9112 does not allow is a ValueError."""

    def __init__(self, data, is_head, closed):
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            raise ValueError(f"no whole head: {data[:80]!r}")
        first, *lines = head.split(b"\r\n")
        line = re.fullmatch(rb"HTTP/1\.1 ([1-5]\d\d) ([\x20-\x7e]*)", first)
        if not line:
            raise ValueError(f"status line: {first!r}")
        self.status = int(line[1])
        self.fields = {}
        for line in lines:
            field = FIELD.match(line)
            if not field:
                raise ValueError(f"field line: {line!r}")
            name = field[1].lower()
            if name in self.fields and name not in (b"set-cookie", b"link"):
                raise ValueError(f"field twice: {name!r}")
            self.fields[name] = field[2]
        length, coding = self.fields.get(b"content-length"), self.fields.get(b"transfer-encoding")
        if (self.status < 200 or self.status == 204) and (length or coding):
            raise ValueError(f"{self.status} with a length")
        if length and coding:
            raise ValueError("both lengths")
        if self.status >= 200 and not DATE.match(self.fields.get(b"date", b"")):
            raise ValueError(f"date: {self.fields.get(b'date')!r}")
        self.body = b""
        if is_head or self.status < 200 or self.status in (204, 304):
            pass
        elif coding == b"chunked":
            self.body, rest = unchunk(rest)
        elif length is not None:
            size = int(length)
            if len(rest) < size:
                raise ValueError(f"{len(rest)} of {size} bytes")
            self.body, rest = rest[:size], rest[size:]
        elif closed:
            self.body, rest = rest, b""
        else:
            raise ValueError("a body without an end")
        self.rest = rest

    def closes(self):
        return b"close" in self.fields.get(b"connection", b"").lower()


def unchunk(rest):
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end or not re.fullmatch(rb"[0-9a-fA-F]+", line):
            raise ValueError(f"chunk size: {line!r}")
        size = int(line, 16)
        if size == 0:
            while not rest.startswith(b"\r\n"):
                line, end, rest = rest.partition(b"\r\n")
                if not end or not FIELD.match(line):
                    raise ValueError(f"trailer: {line!r}")
            return body, rest[2:]
        if rest[size:size + 2] != b"\r\n":
            raise ValueError("chunk without its line end")
        body, rest = body + rest[:size], rest[size + 2:]


class Talk:
    """What came back: the answers in their order, and whether the server closed."""

    def __init__(self, pieces, heads, patience):
        self.data, self.closed = b"", False
        with socket.create_connection((HOST, int(PORT)), 5) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                if isinstance(piece, float):
                    # Until then the server has had its say.
                    self.receive(connection, piece)
                    continue
                try:
                    connection.sendall(piece)
                except (BrokenPipeError, ConnectionResetError):
                    break
            self.receive(connection, patience)
        self.answers, rest = [], self.data
        while rest:
            # An interim answer stands before the final one of the same request.
            number = sum(answer.status >= 200 for answer in self.answers)
            answer = Answer(rest, number in heads, self.closed)
            self.answers.append(answer)
            rest = answer.rest
        self.statuses = [answer.status for answer in self.answers]

    def receive(self, connection, patience):
        """Reads until nothing has come for `patience`, or 0.3 s after something has, or the server has closed."""
        end = time.monotonic() + patience
        while not self.closed and (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                data = connection.recv(65536)
            except TimeoutError:
                return
            except ConnectionResetError:
                data = b""
            self.data += data
            self.closed = not data
            end = time.monotonic() + min(patience, 0.3)


# What may be said of a talk. Each gives a sentence if it is not so.


def refused(*statuses):
    """One answer with such a status, nothing behind it is taken for a request, and the connection is closed."""
    def check(talk):
        if len(talk.answers) != 1 or talk.statuses[0] not in statuses:
            return f"wanted one answer with {statuses}"
        if not talk.closed or not talk.answers[0].closes():
            return "the connection was left open"
        return None
    return check


def answered(*statuses, closed=False):
    """So many answers with just these statuses."""
    def check(talk):
        if talk.statuses != list(statuses):
            return f"wanted {list(statuses)}"
        return None if talk.closed == closed else f"the connection was {'closed' if talk.closed else 'left open'}"
    return check


def one_of(*statuses):
    """An ordinary answer with one of the statuses; the connection goes on."""
    return lambda talk: None if len(talk.statuses) == 1 and talk.statuses[0] in statuses and not talk.closed else \
        f"wanted one of {statuses}, and the connection open"


def echoed(*bodies):
    """200 and these bodies."""
    def check(talk):
        if talk.statuses != [200] * len(bodies):
            return f"wanted {len(bodies)} times 200"
        got = [answer.body for answer in talk.answers]
        return None if got == list(bodies) else f"wanted {bodies}, got {got}"
    return check


def waits(talk):
    """Nothing is said, and nobody closes."""
    return "wanted silence" if talk.data or talk.closed else None


def field(name, pattern, *statuses):
    """All answers have the field, and a status of these."""
    def check(talk):
        for answer in talk.answers:
            if not re.fullmatch(pattern, answer.fields.get(name, b"(absent)")) or answer.status not in statuses:
                return f"wanted {statuses} with {name!r} like {pattern!r}, got {answer.fields}"
        return None if talk.answers else "no answer"
    return check


def says(*parts, never=(), status=200):
    """The body has these parts and none of the others."""
    def check(talk):
        if talk.statuses != [status]:
            return f"wanted {status}"
        body = talk.answers[0].body
        missing = [part for part in parts if part not in body] + [part for part in never if part in body]
        return f"not so: {missing}" if missing else None
    return check


def head(line=b"GET /echo HTTP/1.1", fields=b"", host=b"Host: a\r\n"):
    return line + b"\r\n" + host + fields + b"\r\n"


def post(fields, body, version=b"HTTP/1.1"):
    return head(b"POST / " + version, fields) + body


def chunked(body):
    return post(b"Transfer-Encoding: chunked\r\n", body)


GET = b"GET / HTTP/1.1"
FIVE = b"Content-Length: 5\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
SOCKET = b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
VERSION_13 = b"Sec-WebSocket-Version: 13\r\n"
GARBAGE = random.Random(9112).randbytes(256)

# Section, name, bytes. The answer is 400 unless a status is named, and the connection ends: sent whole with another
# request behind it, and byte by byte.
REFUSED = [
    ("9112 2.2", "two empty lines in front", b"\r\n\r\n" + head()),
    ("9112 2.2", "carriage returns for line ends", GET + b"\rHost: a\r\n\r\n"),
    ("9112 2.2", "one bare line feed after the request line", GET + b"\nHost: a\r\n\r\n"),
    ("9112 2.2", "one bare line feed after a field", GET + b"\r\nHost: a\nX: y\r\n\r\n"),
    ("9112 2.2", "carriage return before a field", head(fields=b"\rX: y\r\n")),
    ("9112 2.2", "a line of white space before the fields", GET + b"\r\n \r\nHost: a\r\n\r\n"),
    ("9112 2.2", "white space for a request line", b"   \r\n\r\n"),
    ("9112 2.2", "bytes at random", GARBAGE),
    ("9112 3", "no target", head(b"GET HTTP/1.1")),
    ("9112 3", "space within the target", head(b"GET /a b HTTP/1.1")),
    ("9112 3", "words before the method", head(b"Extra lineGET / HTTP/1.1")),
    ("9112 3", "no version but its space", b"GET / \r\n\r\n"),
    ("9112 3", "no version, as in HTTP/0.9", b"GET /\r\n"),
    ("9112 3", "a word of 100,000 letters", head(b"A" * 100_000 + b" / HTTP/1.1")),
    ("9112 3", "a method of 40 letters", head(b"A" * 40 + b" / HTTP/1.1"), 501),
    ("9112 3.2", "backslash in the target", head(b"GET /a\\b HTTP/1.1")),
    ("9112 3.2", "UTF-8 in the target", head("GET /caf\u00e9 HTTP/1.1".encode())),
    ("9112 3.2", "overlong UTF-8 in the target", head(b"GET /\xc0\xaf HTTP/1.1")),
    ("9112 3.2.2", "absolute-form without a host", head(b"GET http:///a HTTP/1.1")),
    ("9112 3.2", "host with a path", head(GET, host=b"Host: a/b\r\n")),
    ("9112 3.2", "host with white space", head(GET, host=b"Host: a b\r\n")),
    ("9112 3.3", "empty host", head(GET, host=b"Host: \r\n")),
    ("9112 2.3", "version without a minor digit", head(b"GET / HTTP/1")),
    ("9112 2.3", "version with zeros in front", head(b"GET / HTTP/01.01")),
    ("9112 2.3", "version with a space in it", head(b"GET / HTTP/ 1.1")),
    ("9112 2.3", "version 9.9", head(b"GET / HTTP/9.9"), 505),
    ("9112 2.3", "version 1.2", head(b"GET / HTTP/1.2"), 505),
    ("9112 5", "bracket in a name", head(fields=b"X[]: y\r\n")),
    ("9112 5", "UTF-8 in a name", head(fields="X-T\u00ebst: y\r\n".encode())),
    ("9112 5", "tab in a name", head(fields=b"Content\tLength: 5\r\n")),
    ("9110 5.5", "bell, backspace and vertical tab in a value", head(fields=b"X: a\x07\x08\x0bb\r\n")),
    ("9110 5.5", "zero byte in a cookie", head(fields=b"Cookie: a=\0b\r\n")),
    ("9110 5.5", "controls in a cookie", head(fields=b"Cookie: a=\x01\x02\r\n")),
    ("9110 8.3", "two content types", post(FIVE + b"Content-Type: text/plain\r\nContent-Type: text/html\r\n", b"hello")),
    ("9110 5.4", "100,000 bytes of a value", head(fields=b"X: " + b"y" * 100_000 + b"\r\n"), 431),
    ("9110 5.4", "100,000 bytes of a name", head(fields=b"X" * 100_000 + b": y\r\n"), 431),
    ("9110 5.4", "64 KiB of a cookie", head(fields=b"Cookie: a=" + b"b" * 65_536 + b"\r\n"), 431),
    ("9110 5.4", "10,000 fields", head(fields=b"".join(b"X-%d: y\r\n" % number for number in range(10_000))), 431),
    ("9112 3", "100,000 bytes of a target", head(b"GET /" + b"a" * 100_000 + b" HTTP/1.1"), 414),
    ("9110 8.6", "letters for a length", post(b"Content-Length: abc\r\n", b"hello")),
    ("9110 8.6", "letters behind a length", post(b"Content-Length: 5x\r\n", b"hello")),
    ("9110 8.6", "another octal prefix", post(b"Content-Length: 0o5\r\n", b"hello")),
    ("9110 8.6", "space within a length", post(b"Content-Length: 1 0\r\n", b"helloworld")),
    ("9110 8.6", "minus zero for a length", post(b"Content-Length: -0\r\n", b"")),
    ("9110 8.6", "a list of two lengths", post(b"Content-Length: 5, 10\r\n", b"helloworld")),
    ("9112 6.1", "empty coding", post(b"Transfer-Encoding: \r\n", b"hello")),
    ("9112 6.1", "coding after a comma", post(b"Transfer-Encoding: , chunked\r\n", HELLO)),
    ("9112 6.1", "coding after a form feed", post(b"Transfer-Encoding: \x0cchunked\r\n", HELLO)),
    ("9112 6.1", "coding before a zero byte", post(b"Transfer-Encoding: chunked\0\r\n", HELLO)),
    ("9112 7", "coding with a parameter", post(b"Transfer-Encoding: chunked;a=b\r\n", HELLO)),
    ("9112 6.1", "identity", post(b"Transfer-Encoding: identity\r\n", b"hello")),
    ("9112 6.1", "chunked, then identity in a line of its own", post(CHUNKS + b"Transfer-Encoding: identity\r\n", HELLO)),
    ("9112 6.1", "gzip, then chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", HELLO), 501),
    ("9112 5.2", "folded coding beside a length", post(b"Transfer-Encoding:\r\n chunked\r\n" + FIVE, b"hello")),
    ("9112 6.1", "white space behind the coding, beside a length", post(b"Transfer-Encoding: chunked \r\n" + FIVE, b"0\r\n\r\n")),
    ("9112 6.1", "coding in capitals, beside a length", post(b"Transfer-Encoding: CHUNKED\r\n" + FIVE, b"0\r\n\r\n")),
    ("9112 6.1", "bad coding and bad length", post(b"Transfer-Encoding: xchunked\r\nContent-Length: +5\r\n", b"hello")),
    ("9112 7.1", "minus one for a chunk size", chunked(b"-1\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1", "plus zero for a chunk size", chunked(b"+0\r\n\r\n")),
    ("9112 7.1", "letters for a chunk size", chunked(b"Z\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1", "underscore in a chunk size", chunked(b"1_0\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1", "tab before a chunk size", chunked(b"\t5\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1", "white space behind the last size", chunked(b"0 \r\n\r\n")),
    ("9112 7.1", "chunk size ended by a carriage return", chunked(b"5\rhello\r\n0\r\n\r\n")),
    ("9112 7.1", "chunk size ended by CR CR LF", chunked(b"5\r\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1", "no line end behind the data", chunked(b"5\r\nhello0\r\n\r\n")),
    ("9112 7.1", "two other bytes for the line end behind the data", chunked(b"5\r\nhelloXX0\r\n\r\n")),
    ("9112 7.1", "carriage return alone behind the data", chunked(b"5\r\nhello\r0\r\n\r\n")),
    ("9112 7.1.1", "semicolon and no extension", chunked(b"5;\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "extension name that is no token", chunked(b"5;a[=b\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "extension without a value", chunked(b"5;a=\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "zero byte in an extension", chunked(b"5;\0a\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "carriage return in an extension", chunked(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "semicolon and a line feed", chunked(b"5;\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.1", "100,000 bytes of an extension", chunked(b"5;a=" + b"b" * 100_000 + b"\r\nhello\r\n0\r\n\r\n")),
    ("9112 7.1.2", "line feed ends the trailers", chunked(b"5\r\nhello\r\n0\r\n\n")),
    ("9112 7.1.2", "trailer without a colon", chunked(b"0\r\nnonsense\r\n\r\n")),
    ("9112 7.1.2", "folded trailer", chunked(b"0\r\na: b\r\n c\r\n\r\n")),
    ("9110 10.1.1", "unknown expectation, no body", head(fields=b"Expect: 200-ok\r\n"), 417),
    ("9110 10.1.1", "list of expectations", post(FIVE + b"Expect: 100-continue, 100-continue\r\n", b"hello"), 417),
    ("9112 3", "the preface of HTTP/2 behind a request", head() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 200, 505),
]

FRAGMENTS = [b"", b"G", b"GET ", b"GET /hello", b"GET /hello ", b"GET /hello HTTP", b"GET /hello HTTP/1.1", b"GET /hello HTTP/1.1\r",
             b"GET /hello HTTP/1.1\r\n", b"GET /hello HTTP/1.1\r\nHos", b"GET /hello HTTP/1.1\r\nHost:",
             b"GET /hello HTTP/1.1\r\nHost: a", b"GET /hello HTTP/1.1\r\nHost: a\r\n", b"GET /hello HTTP/1.1\r\nHost: a\r\n\r"]
WHOLE = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
GREETING = b"Hello, World!"

# Section, name, pieces (a number is a pause), what has to be so; then the numbers of the answers that are to HEAD.
CASES = [
    *[("9112 2.2", f"{len(part)} bytes of a head", [part], waits) for part in FRAGMENTS],
    *[("9112 2.2", f"{len(part)} bytes of a head, and later the rest", [part, 0.2, WHOLE[len(part):]], echoed(GREETING))
      for part in FRAGMENTS],
    ("9112 3.2.1", "7,900 bytes of a path", [head(b"GET /" + b"a" * 7900 + b" HTTP/1.1")], answered(200)),
    ("9112 3.2.2", "absolute-form beside another Host", [head(b"GET http://other.example/hello HTTP/1.1")], echoed(GREETING)),
    ("9112 3.2.4", "OPTIONS *", [head(b"OPTIONS * HTTP/1.1")], field(b"allow", rb"(?=.*GET)(?=.*POST).*", 200, 204)),
    ("9110 9.3.7", "OPTIONS of a path", [head(b"OPTIONS / HTTP/1.1")], field(b"allow", rb"(?=.*GET)(?=.*POST).*", 200, 204)),
    ("9110 15.5.6", "a method not allowed is told what is", [head(b"DELETE / HTTP/1.1")], field(b"allow", rb"(?=.*GET)(?=.*POST).*", 405)),
    ("9110 9.1", "methods have a case", [head(b"get / HTTP/1.1")], one_of(405, 501)),
    ("9110 9.1", "an unknown method", [head(b"FOOBAR / HTTP/1.1")], one_of(405, 501)),
    ("9110 9.3.8", "TRACE tells no secrets", [head(b"TRACE / HTTP/1.1", b"Authorization: Bearer secret\r\n")], one_of(405, 501)),
    ("9110 9.3.6", "CONNECT to an origin", [b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"], one_of(400, 405, 501)),
    ("9110 9.3.2", "HEAD has no body", [head(b"HEAD /hello HTTP/1.1") + WHOLE], answered(200, 200), 0),
    ("9110 8.6", "HEAD tells the length", [head(b"HEAD /hello HTTP/1.1")], field(b"content-length", rb"13", 200), 0),
    ("9110 8.3", "a page has a type", [head(GET)], field(b"content-type", rb"text/html.*", 200)),
    ("9112 3.2", "HTTP/1.0 needs no host", [b"GET /hello HTTP/1.0\r\n\r\n"], answered(200, closed=True)),
    ("3986 2.1", "encoded line ends stay encoded", [head(b"GET /a%0d%0aX-Injected:%20b HTTP/1.1")],
     says(b"/a%0d%0aX-Injected:%20b", never=(b"\r",))),
    ("3986 2.1", "an encoded zero byte stays encoded", [head(b"GET /a%00b HTTP/1.1")], says(b"/a%00b", never=(b"\0",))),
    ("9110 5.5", "empty values and tabs around", [head(host=b"hoSt:\ta \t\r\n", fields=b"X-Empty:\r\nX-Blank: \t \r\n")],
     says(b"hoSt: a\n", b"X-Empty: \n", b"X-Blank: \n")),
    ("9110 5.1", "underscores are no hyphens", [head(fields=b"Content_Length: 99\r\nTransfer_Encoding: chunked\r\n")],
     says(b"Content_Length: 99\n", b"Transfer_Encoding: chunked\n")),
    ("9112 6.3", "a length and its body", [post(FIVE, b"hello")], echoed(b"hello")),
    ("9112 6.3", "a length of zero", [post(b"Content-Length: 0\r\n", b"")], echoed(b"")),
    ("9112 6.3", "no length and no body", [post(b"", b"")], echoed(b"")),
    ("9110 8.6", "zeros before a length", [post(b"Content-Length: 005\r\n", b"hello")], echoed(b"hello")),
    ("9110 8.6", "a length is no octal number", [post(b"Content-Length: 010\r\n", b"0123456789") * 2], echoed(*[b"0123456789"] * 2)),
    ("9110 8.6", "two zeros for a length", [post(b"Content-Length: 00\r\n", b"") + WHOLE], echoed(b"", GREETING)),
    ("9112 5.1", "white space around a length", [post(b"Content-Length: \t 5 \t\r\n", b"hello")], echoed(b"hello")),
    ("9112 7.1", "chunks", [chunked(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")], echoed(b"hello world")),
    ("9112 7.1", "no chunk but the last", [chunked(b"0\r\n\r\n")], echoed(b"")),
    ("9112 7.1", "chunk size in capitals", [chunked(b"A\r\nhelloworld\r\n0\r\n\r\n")], echoed(b"helloworld")),
    ("9112 7.1", "zeros before a chunk size", [chunked(b"0005\r\nhello\r\n000\r\n\r\n")], echoed(b"hello")),
    ("9112 7.1.1", "extensions", [chunked(b'5;a;b=c; d = "e;\\"f"\r\nhello\r\n0;g\r\n\r\n')], echoed(b"hello")),
    ("9112 7.1.2", "a trailer", [chunked(b"5\r\nhello\r\n0\r\nX-Sum: a\r\n\r\n") + WHOLE], echoed(b"hello", GREETING)),
    *[("9110 6.5.1", f"{name.decode()} in a trailer decides nothing",
       [chunked(b"5\r\nhello\r\n0\r\n" + name + b"\r\n\r\n") + WHOLE], echoed(b"hello", GREETING))
      for name in (b"Content-Length: 50", b"Transfer-Encoding: chunked", b"Host: b", b"Authorization: c", b"Connection: close")],
    ("9112 6.3", "half a body is waited for", [post(b"Content-Length: 10\r\n", b"hello")], waits),
    ("9112 6.3", "half a body, and later the rest", [post(b"Content-Length: 10\r\n", b"hello"), 0.2, b"world" + WHOLE],
     echoed(b"helloworld", GREETING)),
    ("9112 7.1", "chunks without the last are waited for", [chunked(b"5\r\nhello\r\n")], waits),
    ("9112 7.1", "chunks, cut within sizes and line ends", [part for piece in (
        chunked(b"")[:-1], b"\n0", b"5\r", b"\nhel", b"lo\r", b"\n", b"0\r\n", b"\r", b"\n") for part in (piece, 0.05)], echoed(b"hello")),
    ("9112 7.1", "chunks that turn out wrong later", [chunked(b"5\r\nhello"), 0.2, b"!!\r\n0\r\n\r\n" + NEXT], refused(400)),
    ("9112 6.3", "a gigabyte announced costs nothing", [post(b"Content-Length: 999999999\r\n", b"")], waits),
    *[("9112 6.3", f"{method.decode()} with {kind} is one request", [head(method + b" / HTTP/1.1", fields) + body, 0.1, b"\r\n" + WHOLE],
       lambda talk: None if len(talk.answers) == 2 and talk.answers[1].body == GREETING else "wanted two answers", *(
           (0,) if method == b"HEAD" else ()))
      for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE", b"FOOBAR")
      for kind, fields, body in (
          ("a request for a body", b"Content-Length: 34\r\n", b"GET /echo HTTP/1.1\r\nX-Marker: next\r\n"[:34]),
          ("a request in a chunk", CHUNKS, b"%x\r\n%s\r\n0\r\n\r\n" % (len(NEXT), NEXT)))],
    ("9110 10.1.1", "100 comes before the body and alone", [post(FIVE + b"Expect: 100-continue\r\n", b""), 0.3], answered(100)),
    ("9110 10.1.1", "100, then the body, then 200", [post(FIVE + b"Expect: 100-continue\r\n", b""), 0.3, b"hello" + WHOLE], answered(100, 200, 200)),
    ("9110 10.1.1", "who does not wait for 100 needs none", [post(FIVE + b"Expect: 100-Continue\r\n", b"hello") + WHOLE],
     lambda talk: None if [status for status in talk.statuses if status != 100] == [200, 200] else "wanted 200 twice"),
    ("9110 10.1.1", "no 100 without a body", [head(b"GET /hello HTTP/1.1", b"Expect: 100-continue\r\n")], answered(200)),
    ("9110 15.2", "no 100 in HTTP/1.0", [post(FIVE + b"Expect: 100-continue\r\n", b"", b"HTTP/1.0"), 0.3, b"hello"], answered(200, closed=True)),
    ("9110 10.1.1", "a final answer instead of 100 ends the connection",
     [head(b"GET /hello HTTP/1.1", FIVE + b"Expect: 100-continue\r\n"), 0.3, b"hello" + NEXT], answered(200, closed=True)),
    ("9112 9.3", "one request after the other", [WHOLE, 0.2, WHOLE, 0.2, WHOLE], echoed(*[GREETING] * 3)),
    ("9112 9.3.2", "pipelined answers keep their order", [head() + chunked(HELLO) + WHOLE],
     lambda talk: None if [answer.body for answer in talk.answers[1:]] == [b"hello", GREETING] else "wanted them in order"),
    ("9112 9.6", "close", [head(b"GET /hello HTTP/1.1", b"Connection: close\r\n") + NEXT], answered(200, closed=True)),
    ("9112 9.6", "close in a list", [head(b"GET /hello HTTP/1.1", b"Connection: keep-alive, CLOSE\r\n") + NEXT], answered(200, closed=True)),
    ("9110 7.6.1", "Connection takes no length away", [post(FIVE + b"Connection: Content-Length, Host\r\n", b"hello") + WHOLE],
     echoed(b"hello", GREETING)),
    ("6455 4.2.1", "no WebSocket by POST", [head(b"POST / HTTP/1.1", b"Connection: upgrade\r\n" + SOCKET + VERSION_13)], answered(200)),
    ("9110 7.8", "no upgrade without Connection", [head(GET, SOCKET + VERSION_13)], answered(200)),
    ("9110 7.8", "no upgrade in HTTP/1.0", [head(b"GET / HTTP/1.0", b"Connection: upgrade\r\n" + SOCKET + VERSION_13)], answered(200, closed=True)),
    ("9110 7.8", "no upgrade to what nobody knows", [head(GET, b"Connection: upgrade\r\nUpgrade: made-up/1.0\r\n")], answered(200)),
    ("6455 4.4", "another version of WebSocket", [head(GET, b"Connection: upgrade\r\n" + SOCKET + b"Sec-WebSocket-Version: 99\r\n")],
     field(b"sec-websocket-version", rb"13", 426)),
    ("7540 3.2", "no h2c by upgrade, and the body is a body",
     [head(b"POST /echo HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n" + FIVE) + b"hello" + WHOLE],
     echoed(b"hello", GREETING)),
    ("9110 14.2", "a range of POST", [post(FIVE + b"Range: bytes=0-1\r\n", b"hello")], echoed(b"hello")),
    ("9110 14.2", "a range that is none", [head(b"GET /hello HTTP/1.1", b"Range: bytes=a-b\r\n")], echoed(GREETING)),
    ("9110 14.2", "a thousand ranges", [head(b"GET /hello HTTP/1.1", b"Range: bytes=" + b",".join([b"0-"] * 1000) + b"\r\n")], echoed(GREETING)),
    ("9110 13.1.3", "a date that is none", [head(b"GET /hello HTTP/1.1", b"If-Modified-Since: yesterday\r\n")], echoed(GREETING)),
    ("9110 13.1.3", "a date to come", [head(b"GET /hello HTTP/1.1", b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n")], echoed(GREETING)),
    ("6265 4.2", "cookies", [head(b"GET /cookie HTTP/1.1", b"Cookie: a=1; b=2; c=; d=x=y\r\n")], says(b"a=1\n", b"b=2\n", b"c=\n", b"d=x=y\n")),
    ("6265 5.4", "two lines of cookies", [head(b"GET /cookie HTTP/1.1", b"Cookie: a=1\r\nCookie: b=2\r\n")], says(b"a=1\n", b"b=2\n")),
    ("6265 5.4", "cookies that are none", [head(b"GET /cookie HTTP/1.1", b"Cookie: ===;;; ;a\r\n") + WHOLE], answered(200, 200)),
    ("6265 5.4", "no cookie", [head(b"GET /cookie HTTP/1.1", b"Cookie: \r\n")], echoed(b"")),
]


def tests():
    for section, name, data, *statuses in REFUSED:
        check = refused(*(statuses or [400]))
        if len(statuses) == 2:
            check = answered(*statuses, closed=True)
        yield section, f"{name}, whole", [data + NEXT], check, ()
        if len(data) < 500:
            yield section, f"{name}, byte by byte", [bytes([byte]) for byte in data] + [NEXT], check, ()
    for section, name, pieces, check, *heads in CASES:
        yield section, name, pieces, check, heads


def run(test):
    section, name, pieces, check, heads = test
    try:
        talk = Talk(pieces, heads, 0.6 if check is waits else 4.0)
        problem = check(talk)
        seen = f"{talk.statuses}, {'closed' if talk.closed else 'open'}: {talk.data[:200]!r}"
    except (ValueError, OSError) as error:
        problem, seen = "the answer cannot be read", repr(error)
    return f"{name} (RFC {section}): {problem}; seen {seen}" if problem else None


def main():
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        results = list(threads.map(run, tests()))
    problems = [problem for problem in results if problem]
    for problem in problems:
        print("FAILED:", problem, file=sys.stderr)
    print(f"conformance: {len(results) - len(problems)} passed, {len(problems)} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
