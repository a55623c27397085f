// WebSocket as Node's ws speaks it. RINGGATE_ADDRESS names the server, RINGGATE_CI_TOOLS where ws is installed.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { once } from "node:events";

const WebSocket = createRequire(`${process.env.RINGGATE_CI_TOOLS}/`)("ws");
const address = process.env.RINGGATE_ADDRESS;

async function echo(path, perMessageDeflate) {
    const socket = new WebSocket(`ws://${address}${path}`, { perMessageDeflate });
    await once(socket, "open");
    for (const size of [0, 1, 125, 126, 65535, 65536, 200000]) {
        const message = randomBytes(size);
        socket.send(message);
        const [answer, isBinary] = await once(socket, "message");
        assert.ok(isBinary && message.equals(answer), `${path}: ${size} bytes`);
    }
    const text = "Grüße, 世界 ".repeat(5000);
    socket.send(text);
    const [answer, isBinary] = await once(socket, "message");
    assert.ok(!isBinary && answer.toString() === text);
    socket.ping("ping");
    assert.equal((await once(socket, "pong"))[0].toString(), "ping");
    socket.close(1000, "done");
    assert.equal((await once(socket, "close"))[0], 1000);
}

const limit = setTimeout(() => { console.error("FAILED: no answer within 60 s"); process.exit(1); }, 60000);
for (const path of ["/ws", "/ws-blocking"]) {
    for (const deflate of [false, true]) {
        await echo(path, deflate);
        console.log(`ws: ${path} ${deflate ? "deflated" : "plain"} passed`);
    }
}
clearTimeout(limit);
