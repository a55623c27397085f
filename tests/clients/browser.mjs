// Two browsers on the showcase: each types into the chat page, both read both. RINGGATE_ADDRESS names the server,
// RINGGATE_CI_TOOLS where playwright-core is installed, RINGGATE_BROWSER the browser if it is none of the usual names.
// With RINGGATE_SCREENSHOTS pictures of the pages are left in that directory.
import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";

const address = process.env.RINGGATE_ADDRESS;
const { chromium } = createRequire(`${process.env.RINGGATE_CI_TOOLS}/`)("playwright-core");

function findBrowser() {
    const names = ["chromium", "chromium-browser", "google-chrome"];
    const places = process.env.PATH.split(delimiter).flatMap(directory => names.map(name => join(directory, name)));
    for (const place of [process.env.RINGGATE_BROWSER, ...places]) {
        try {
            accessSync(place, constants.X_OK);
            return place;
        } catch { /* the next one */ }
    }
    return null;
}

const executablePath = findBrowser();
if (!executablePath) {
    console.log("NOT RUN: there is no browser");
    process.exit(0);
}
const args = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
];

// A process of its own with a profile of its own, and a page that complains here.
async function browse() {
    const browser = await chromium.launch({ executablePath, args, headless: true, timeout: 30000 });
    const page = await browser.newPage({ viewport: { width: 900, height: 700 } });
    page.setDefaultTimeout(15000);
    page.complaints = [];
    page.on("pageerror", error => page.complaints.push(String(error)));
    page.on("console", message => message.type() === "error" && page.complaints.push(message.text()));
    return { browser, page };
}

async function picture(page, name) {
    if (process.env.RINGGATE_SCREENSHOTS) {
        await page.screenshot({ path: join(process.env.RINGGATE_SCREENSHOTS, `${name}.png`) });
    }
}

async function frontPage({ page }) {
    const response = await page.goto(`http://${address}/`);
    assert.equal(response.status(), 200);
    assert.equal(await page.title(), "Ringgate");
    assert.ok(await page.getByRole("link", { name: "/chat" }).isVisible());
    await picture(page, "front");
}

// Both are in the room before anybody speaks; each types in the page's own input.
async function chat(one, two) {
    for (const { page } of [one, two]) {
        await page.goto(`http://${address}/chat`);
        await page.locator("#state", { hasText: "you are" }).waitFor();
    }
    const said = ["Hello from the first browser", "And from the second: Grüße, 世界 <b>not bold</b>"];
    for (const [number, { page }] of [one, two].entries()) {
        await page.locator("#text").fill(said[number]);
        await page.locator("#text").press("Enter");
        for (const other of [one, two]) {
            await other.page.locator("#log", { hasText: said[number] }).waitFor();
        }
    }
    await picture(one.page, "chat-one");
    await picture(two.page, "chat-two");
    for (const { page } of [one, two]) {
        const log = await page.locator("#log").innerText();
        assert.ok(log.indexOf(said[0]) < log.indexOf(said[1]), log);
        assert.match(log, /<b>not bold/, "text is text");
    }
}

// A browser's own WebSocket: sizes, kinds, compression, codes.
async function echo({ page }) {
    const result = await page.evaluate(async url => {
        const socket = new WebSocket(url);
        socket.binaryType = "arraybuffer";
        const next = name => new Promise((resolve, reject) => {
            socket.addEventListener(name, resolve, { once: true });
            socket.addEventListener("error", () => reject(new Error("the socket failed")), { once: true });
        });
        await next("open");
        for (const size of [0, 1, 125, 126, 65535, 65536, 1000000]) {
            const bytes = new Uint8Array(size).map((_, place) => place * 7);
            socket.send(bytes);
            const { data } = await next("message");
            if (data.byteLength !== size || !new Uint8Array(data).every((byte, place) => byte === bytes[place])) {
                throw new Error(`${size} bytes came back otherwise`);
            }
            const text = "ä€".repeat(size / 5);
            socket.send(text);
            if ((await next("message")).data !== text) {
                throw new Error(`a text of ${text.length} came back otherwise`);
            }
        }
        const { extensions } = socket;
        socket.close(4000, "enough");
        const { code, reason, wasClean } = await next("close");
        return { extensions, code, reason, wasClean };
    }, `ws://${address}/ws`);
    assert.match(result.extensions, /permessage-deflate/);
    assert.deepEqual({ ...result, extensions: "" }, { extensions: "", code: 4000, reason: result.reason, wasClean: true });
}

// The page of another host is refused: it would come with its visitor's cookies.
async function strangers({ page }) {
    const host = address.replace("127.0.0.1", "localhost");
    const outcome = await page.evaluate(url => new Promise(resolve => {
        const socket = new WebSocket(url);
        socket.onopen = () => resolve("opened");
        socket.onerror = () => resolve("refused");
    }), `ws://${host}/chat`);
    assert.equal(outcome, "refused");
    assert.match(page.complaints.pop(), /403/);
}

const limit = setTimeout(() => { console.error("FAILED: the browsers took more than 90 s"); process.exit(1); }, 90000);
const browsers = [];
let failed = true;
try {
    browsers.push(await browse(), await browse());
    const [one, two] = browsers;
    await frontPage(one);
    console.log("browser: the front page passed");
    await chat(one, two);
    console.log("browser: two of them in the chat room passed");
    await echo(one);
    console.log("browser: echo passed");
    await strangers(one);
    console.log("browser: the page of another host passed");
    const complaints = browsers.flatMap(({ page }) => page.complaints).filter(text => !/favicon/.test(text));
    assert.deepEqual(complaints, []);
    failed = false;
} catch (error) {
    console.error(`FAILED: browser: ${error.stack}`);
} finally {
    await Promise.allSettled(browsers.map(({ browser }) => browser.close()));
    clearTimeout(limit);
}
process.exit(failed ? 1 : 0);
