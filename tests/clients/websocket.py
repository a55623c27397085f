"""WebSocket as Python's websockets speaks it. RINGGATE_ADDRESS names the server."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

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
    for check in (bad_text, no_websocket_here, chat):
        await asyncio.wait_for(check(), 20)
        print(f"websockets: {check.__name__} passed")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
