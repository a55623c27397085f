"""HTTP/1.1 as Python's http.client, httpx and h11 speak it. RINGGATE_ADDRESS names the server.

h11 checks our grammar more strictly than browsers do: whatever it cannot parse raises an error here.
"""

import hashlib
import http.client
import os
import random
import socket
import sys
import traceback

import h11
import httpx

ADDRESS = os.environ["RINGGATE_ADDRESS"]
HOST, PORT = ADDRESS.rsplit(":", 1)
PORT = int(PORT)


def http_client():
    connection = http.client.HTTPConnection(HOST, PORT, timeout=20)
    for _ in range(3):
        connection.request("GET", "/hello")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"Hello, World!")
        assert not response.will_close
    first = connection.sock
    body = random.Random(1).randbytes(300_000)
    connection.request("POST", "/echo", body=body)
    assert connection.getresponse().read() == body
    pieces = [body[start : start + 7_777] for start in range(0, len(body), 7_777)]
    connection.request("POST", "/echo", body=iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    assert connection.getresponse().read() == body
    assert connection.sock is first, "the server closed a connection it should have kept"
    connection.request("HEAD", "/hello")
    response = connection.getresponse()
    assert (response.status, response.getheader("Content-Length"), response.read()) == (200, "13", b"")


def httpx_client():
    with httpx.Client(base_url=f"http://{ADDRESS}", timeout=20) as client:
        assert client.get("/hello-async").text == "Hello, World!"
        assert client.get("/hello-blocking").text == "Hello, World!"
        assert isinstance(client.get("/features").json(), dict)
        client.get("/json").json()
        assert client.post("/echo", json={"a": [1, 2]}).json() == {"a": [1, 2]}
        with client.stream("GET", "/stream", params={"chunks": 20, "bytes": 5000}) as response:
            assert sum(len(piece) for piece in response.iter_raw()) == 100_000
        assert client.get("/panic").status_code == 500
        assert client.get("/hello").status_code == 200


def h11_exchange(connection, sock, request, body=b""):
    """One exchange; returns the interim statuses, the response, its body and its trailers."""
    sock.sendall(connection.send(request))
    if body:
        sock.sendall(connection.send(h11.Data(data=body)))
    sock.sendall(connection.send(h11.EndOfMessage()))
    interim, received, response = [], hashlib.sha256(), None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(sock.recv(65536))
        elif isinstance(event, h11.InformationalResponse):
            interim.append(event.status_code)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            received.update(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return interim, response, received.hexdigest(), dict(event.headers)


def h11_client():
    with socket.create_connection((HOST, PORT), 20) as sock:
        connection = h11.Connection(h11.CLIENT)

        def exchange(method, target, headers=(), body=b""):
            answer = h11_exchange(connection, sock, h11.Request(method=method, target=target, headers=[("Host", "a"), *headers]), body)
            connection.start_next_cycle()
            return answer

        hello = hashlib.sha256(b"Hello, World!").hexdigest()
        assert exchange("GET", "/hello")[2] == hello
        interim, response, *_ = exchange("GET", "/hints")
        assert interim == [103] and response.status_code == 200, (interim, response)
        *_, trailers = exchange("GET", "/trailers", [("TE", "trailers")])
        assert trailers, "no trailers arrived"
        body = b"0123456789" * 1000
        *_, digest, _ = exchange("POST", "/echo", [("Content-Length", str(len(body)))], body)
        assert digest == hashlib.sha256(body).hexdigest()
        *_, digest, _ = exchange("POST", "/echo", [("Transfer-Encoding", "chunked")], body)
        assert digest == hashlib.sha256(body).hexdigest()
        _, response, digest, _ = exchange("HEAD", "/hello")
        assert digest == hashlib.sha256(b"").hexdigest() and dict(response.headers)[b"content-length"] == b"13"
        assert exchange("GET", "/hello")[2] == hello


def main():
    failed = 0
    for check in (http_client, httpx_client, h11_client):
        try:
            check()
            print(f"python: {check.__name__} passed")
        except Exception:
            failed += 1
            print(f"FAILED: python: {check.__name__}", file=sys.stderr)
            traceback.print_exc()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
