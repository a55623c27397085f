"""WebSocket as Python's websockets speaks it. RINGGATE_ADDRESS names the server."""

import asyncio
import itertools
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

ADDRESS = os.environ["RINGGATE_ADDRESS"]
DEFLATE = {"deflated": "deflate", "plain": None}


async def echo(path, compression):
    async with connect(f"ws://{ADDRESS}{path}", compression=compression, max_size=None) as socket:
        assert bool(socket.protocol.extensions) == bool(compression), f"{path}: compression {compression} not agreed"
        for size in (0, 1, 125, 126, 127, 65535, 65536, 300_000):
            for message in ("ä" * (size // 2), os.urandom(size)):
                await socket.send(message)
                assert await socket.recv() == message, f"{path}: {size} bytes"
        await socket.send(["in ", "three ", "fragments"])
        assert await socket.recv() == "in three fragments"
        pong = await socket.ping(b"are you there?")
        await asyncio.wait_for(pong, 5)
        for number in range(200):
            await socket.send(str(number))
        assert [await socket.recv() for _ in range(200)] == [str(number) for number in range(200)]
        await socket.close(4000, "enough")
        assert socket.close_code == 4000, socket.close_code


async def every_agreement():
    """All that a client can offer of permessage-deflate, and zlib at its end of it."""
    message = "".join(f"{number} bottles of beer, " for number in range(2000))
    for server_alone, client_alone in itertools.product((False, True), repeat=2):
        for server_bits, client_bits in itertools.product((None, 9, 12, 15), (None, True, 9, 12, 15)):
            offer = ClientPerMessageDeflateFactory(
                server_no_context_takeover=server_alone,
                client_no_context_takeover=client_alone,
                server_max_window_bits=server_bits,
                client_max_window_bits=client_bits,
            )
            async with connect(f"ws://{ADDRESS}/ws", compression=None, extensions=[offer]) as socket:
                agreed = socket.protocol.extensions[0]
                assert agreed.remote_no_context_takeover or not server_alone, agreed
                assert agreed.remote_max_window_bits <= (server_bits or 15), agreed
                # Behind each other: a context that is kept where it must not be, or the other way round, shows here.
                for part in (message, "short", message, os.urandom(20_000), message[:3000]):
                    await socket.send(part)
                    assert await socket.recv() == part, f"{offer} agreed as {agreed}"


async def bad_text():
    async with connect(f"ws://{ADDRESS}/ws", compression=None) as socket:
        await socket.send(b"\xff\xfe", text=True)
        try:
            await socket.recv()
        except ConnectionClosed as closed:
            assert closed.rcvd.code == 1007, closed
            return
        raise AssertionError("text that is not UTF-8 was echoed")


async def no_websocket_here():
    try:
        async with connect(f"ws://{ADDRESS}/hello"):
            raise AssertionError("/hello became a WebSocket")
    except InvalidStatus as refused:
        assert refused.response.status_code in range(200, 500)


async def chat():
    url = f"ws://{ADDRESS}/chat"
    async with connect(url) as one, connect(url) as two:
        await one.send("hello from one")

        async def hears(socket):
            while "hello from one" not in str(await socket.recv()):
                pass

        await asyncio.wait_for(hears(two), 5)


async def main():
    for path in ("/ws", "/ws-blocking"):
        for name, compression in DEFLATE.items():
            await asyncio.wait_for(echo(path, compression), 60)
            print(f"websockets: {path} {name} passed")
    for check in (every_agreement, bad_text, no_websocket_here, chat):
        await asyncio.wait_for(check(), 20)
        print(f"websockets: {check.__name__} passed")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
