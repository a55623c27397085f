"""HTTP/2 as Python's h2 speaks it, driven by hand: what curl does not do. RINGGATE_ADDRESS names the server."""

import os
import socket
import sys

import h2.config
import h2.connection
import h2.events
import h2.settings

HOST, PORT = os.environ["RINGGATE_ADDRESS"].rsplit(":", 1)


class Client:
    """One connection; h2 raises an error at any frame of the server that RFC 9113 does not allow."""

    def __init__(self, **settings):
        self.socket = socket.create_connection((HOST, int(PORT)), 20)
        self.connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.connection.initiate_connection()
        if settings:
            self.connection.update_settings({getattr(h2.settings.SettingCodes, name): value for name, value in settings.items()})
        self.flush()

    def flush(self):
        self.socket.sendall(self.connection.data_to_send())

    def request(self, method, path, fields=(), end=True):
        stream = self.connection.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *fields]
        self.connection.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    def events(self):
        """Events until the server closes; windows are opened as data arrives."""
        while True:
            data = self.socket.recv(65536)
            if not data:
                return
            for event in self.connection.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                yield event
            self.flush()

    def finish(self, streams):
        """Waits for the streams to end: {stream: (interim fields, fields, body, trailers)}."""
        found = {stream: [[], None, b"", None] for stream in streams}
        waiting = set(streams)
        for event in self.events():
            stream = getattr(event, "stream_id", None)
            if isinstance(event, h2.events.InformationalResponseReceived):
                found[stream][0].append(dict(event.headers))
            elif isinstance(event, h2.events.ResponseReceived):
                found[stream][1] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                found[stream][2] += event.data
            elif isinstance(event, h2.events.TrailersReceived):
                found[stream][3] = dict(event.headers)
            elif isinstance(event, h2.events.StreamEnded):
                waiting.discard(stream)
                if not waiting:
                    break
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise AssertionError(f"the server broke off: {event}")
        assert not waiting, f"never answered: {waiting}"
        return found


def many_streams():
    client = Client()
    streams = [client.request("GET", path) for path in ("/hello", "/hello-async", "/hello-blocking") * 20]
    for interim, fields, body, trailers in client.finish(streams).values():
        assert (fields[":status"], body) == ("200", b"Hello, World!"), fields


def interim_and_trailers():
    client = Client()
    hints, trailers = client.request("GET", "/hints"), client.request("GET", "/trailers", [("te", "trailers")])
    found = client.finish([hints, trailers])
    assert [fields[":status"] for fields in found[hints][0]] == ["103"], found[hints]
    assert found[trailers][3], "no trailers arrived"


def a_tiny_window_is_obeyed():
    client = Client(INITIAL_WINDOW_SIZE=1, MAX_FRAME_SIZE=16384)
    stream = client.request("GET", "/hello")
    _, fields, body, _ = client.finish([stream])[stream]
    assert body == b"Hello, World!"


def a_slow_stream_does_not_hold_up_others():
    client = Client()
    slow, quick = client.request("GET", "/sleep?ms=300"), client.request("GET", "/hello")
    order = [event.stream_id for event in first(client.events(), 2, h2.events.StreamEnded)]
    assert order == [quick, slow], order


def first(events, count, kind):
    found = []
    for event in events:
        if isinstance(event, kind):
            found.append(event)
            if len(found) == count:
                break
    return found


def an_upload_is_echoed():
    client = Client()
    stream = client.request("POST", "/echo", end=False)
    body, sent, received = os.urandom(500_000), 0, b""
    events = client.events()
    while True:
        window = min(client.connection.local_flow_control_window(stream), client.connection.max_outbound_frame_size)
        if sent < len(body) and window > 0:
            piece = body[sent : sent + window]
            sent += len(piece)
            client.connection.send_data(stream, piece, end_stream=sent == len(body))
            client.flush()
            continue
        event = next(events)
        if isinstance(event, h2.events.DataReceived):
            received += event.data
        elif isinstance(event, h2.events.StreamEnded):
            break
        assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), event
    assert received == body


def a_reset_stream_leaves_the_others():
    client = Client()
    reset = client.request("GET", "/sleep?ms=5000")
    client.connection.reset_stream(reset, error_code=8)
    stream = client.request("GET", "/hello")
    assert client.finish([stream])[stream][2] == b"Hello, World!"


def main():
    for check in (many_streams, interim_and_trailers, a_tiny_window_is_obeyed, a_slow_stream_does_not_hold_up_others,
                  an_upload_is_echoed, a_reset_stream_leaves_the_others):
        check()
        print(f"h2: {check.__name__} passed")


if __name__ == "__main__":
    sys.exit(main())
