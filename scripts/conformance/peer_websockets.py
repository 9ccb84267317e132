"""Python `websockets` as the client of the server.

Not here: what another library checks in the same way; each brings its own reading of the RFCs.
"""

import asyncio
import contextlib
import json
import os
import ssl
import urllib.request

from websockets.asyncio.client import connect, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode

from tap import case, expect, main

# The server's largest message, as it was started.
MESSAGE_BYTES_MAX = 1 << 20


def open_plain(at, path="/echo", **options):
    options.setdefault("compression", None)
    return connect(at.ws + path, max_size=None, **options)


async def say(socket, message):
    await socket.send(message)
    expect("echo", await socket.recv(), message)


async def read_close(socket):
    """The code and the reason with which the server closes."""
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        if closed.rcvd is None:
            raise AssertionError("the connection ended without a Close") from closed
        return closed.rcvd.code, closed.rcvd.reason


@case("text, binary and empty messages come back")
async def _(at):
    async with open_plain(at) as socket:
        for message in ("a", "", b"", b"\x00\xff", "\u00e9\U0001f600" * 1000, os.urandom(70_000)):
            await say(socket, message)


@case("every length at which the header changes")
async def _(at):
    async with open_plain(at) as socket:
        for length in (0, 1, 124, 125, 126, 127, 65534, 65535, 65536, 65537):
            await say(socket, os.urandom(length))


@case("a message of exactly the limit comes back")
async def _(at):
    async with open_plain(at) as socket:
        await say(socket, os.urandom(MESSAGE_BYTES_MAX))


@case("one byte over the limit is closed with 1009")
async def _(at):
    async with open_plain(at) as socket:
        await socket.send(os.urandom(MESSAGE_BYTES_MAX + 1))
        code, _ = await read_close(socket)
        expect("close code", code, 1009)


@case("a thousand messages come back in order")
async def _(at):
    async with open_plain(at) as socket:
        async def send():
            for number in range(1000):
                await socket.send(str(number))

        sending = asyncio.create_task(send())
        for number in range(1000):
            expect("message", await socket.recv(), str(number))
        await sending


@case("a fragmented message comes back whole, with a ping amid")
async def _(at):
    async with open_plain(at) as socket:
        async def parts():
            yield "one "
            await (await socket.ping(b"amid"))
            yield ""
            yield "two"

        await socket.send(parts())
        expect("echo", await socket.recv(), "one two")


@case("pings of 0 to 125 bytes are answered with their payload")
async def _(at):
    async with open_plain(at) as socket:
        for length in (0, 1, 124, 125):
            await (await socket.ping(b"p" * length))


@case("an unasked pong is passed over")
async def _(at):
    async with open_plain(at) as socket:
        await socket.pong(b"nobody asked")
        await say(socket, "still here")


@case("close codes and reasons are answered")
async def _(at):
    for code in (1000, 1001, 1003, 1007, 1009, 1010, 1011, 3000, 3999, 4000, 4999):
        async with open_plain(at) as socket:
            await socket.close(code, "done \u00e9")
            expect("close code", socket.protocol.close_rcvd.code, code)
            expect("who closed first", socket.protocol.close_rcvd_then_sent, False)


def send_raw(socket, first_byte, payload):
    """A frame that the library itself would not send."""
    data = bytearray(Frame(Opcode.TEXT, payload).serialize(mask=True))
    data[0] = first_byte
    socket.transport.write(bytes(data))


@case("reserved opcodes and bits are closed with 1002")
async def _(at):
    for first_byte in (0x83, 0x87, 0x8B, 0x8F, 0xC1, 0xA1, 0x91, 0xC9):
        async with open_plain(at) as socket:
            send_raw(socket, first_byte, b"x")
            expect(f"close code of {first_byte:x}", (await read_close(socket))[0], 1002)


@case("compressed control frames and continuations are closed with 1002")
async def _(at):
    for first_bytes in ((0xC9,), (0xC8,), (0x41, 0xC0), (0x01, 0xC0), (0xA1,), (0x91,)):
        async with open_plain(at, extensions=deflate()) as socket:
            for first_byte in first_bytes:
                send_raw(socket, first_byte, b"")
            expect(f"close code of {first_bytes}", (await read_close(socket))[0], 1002)


@case("text that is not UTF-8 is closed with 1007")
async def _(at):
    async with open_plain(at) as socket:
        send_raw(socket, 0x81, b"\xc0\xaf")
        expect("close code", (await read_close(socket))[0], 1007)


@case("an unmasked frame is closed with 1002")
async def _(at):
    async with open_plain(at) as socket:
        socket.transport.write(Frame(Opcode.TEXT, b"bare").serialize(mask=False))
        expect("close code", (await read_close(socket))[0], 1002)


def deflate(**parameters):
    return [ClientPerMessageDeflateFactory(**parameters)]


async def say_much(socket):
    """Messages that compress, that do not, and that repeat the one before."""
    for message in ("hello " * 20_000, "hello " * 20_000, "", os.urandom(5000), b"\x00" * 100_000):
        await say(socket, message)


def agreed(socket):
    """What the server answered to the offer of compression."""
    return socket.response.headers.get("Sec-WebSocket-Extensions", "")


@case("compression as offered by default")
async def _(at):
    async with open_plain(at, extensions=deflate()) as socket:
        expect("extension", agreed(socket).split(";")[0], "permessage-deflate")
        await say_much(socket)


@case("compression without context takeover")
async def _(at):
    parameters = {"server_no_context_takeover": True, "client_no_context_takeover": True}
    async with open_plain(at, extensions=deflate(**parameters)) as socket:
        expect("server's part", "server_no_context_takeover" in agreed(socket), True)
        await say_much(socket)


@case("every window from 9 to 15 bits, both ways")
async def _(at):
    for bits in range(9, 16):
        parameters = {"server_max_window_bits": bits, "client_max_window_bits": bits}
        async with open_plain(at, extensions=deflate(**parameters)) as socket:
            expect("server's window", f"server_max_window_bits={bits}" in agreed(socket), True)
            await say_much(socket)


@case("a window of 8 bits is declined, the connection is not")
async def _(at):
    headers = {"Sec-WebSocket-Extensions": "permessage-deflate; server_max_window_bits=8"}
    async with open_plain(at, additional_headers=headers) as socket:
        expect("extension", agreed(socket), "")
        await say(socket, "plain")


@case("an offer that makes no sense is declined")
async def _(at):
    for offer in ("permessage-deflate; server_max_window_bits=7",
                  "permessage-deflate; server_max_window_bits=16",
                  "permessage-deflate; server_max_window_bits",
                  "permessage-deflate; nonsense=1", "x-webkit-deflate-frame",
                  "permessage-deflate; client_no_context_takeover; client_no_context_takeover"):
        headers = {"Sec-WebSocket-Extensions": offer}
        async with open_plain(at, additional_headers=headers) as socket:
            expect(f"answer to {offer}", agreed(socket), "")
            await say(socket, "plain")


@case("a bomb is closed with 1009")
async def _(at):
    async with open_plain(at, extensions=deflate()) as socket:
        expect("extension", agreed(socket).split(";")[0], "permessage-deflate")
        with contextlib.suppress(ConnectionClosed):
            await socket.send(b"\x00" * (64 * MESSAGE_BYTES_MAX))
        expect("close code", (await read_close(socket))[0], 1009)


@case("bytes that do not inflate are closed")
async def _(at):
    async with open_plain(at, extensions=deflate()) as socket:
        send_raw(socket, 0xC1, b"\xff" * 20)
        code, _ = await read_close(socket)
        expect("close code", code in (1002, 1007), True)


@case("the subprotocol is the server's choice")
async def _(at):
    async with open_plain(at, subprotocols=["nobody.knows", "second", "first"]) as socket:
        expect("subprotocol", socket.subprotocol, "first")
    async with open_plain(at, subprotocols=["nobody.knows"]) as socket:
        expect("subprotocol", socket.subprotocol, None)


def publish(at, channel, body):
    request = urllib.request.Request(f"{at.http}/channels/{channel}", data=body)
    request.add_header("Content-Type", "text/plain")
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@case("what is posted reaches subscribers, compressed or not")
async def _(at):
    channel = f"/channels/websockets-{os.urandom(6).hex()}"
    name = channel.rsplit("/", 1)[1]
    narrow = deflate(server_max_window_bits=9)
    async with open_plain(at, channel) as plain, \
            open_plain(at, channel, extensions=deflate()) as wide, \
            open_plain(at, channel, extensions=narrow) as small:
        for body in ("short", "long enough to compress " * 200, "\u00e9" * 3000):
            await asyncio.to_thread(publish, at, name, body.encode())
            for socket in (plain, wide, small):
                expect("publication", await socket.recv(), body)
        await wide.send("from a subscriber " * 50)
        for socket in (plain, wide, small):
            expect("publication", await socket.recv(), "from a subscriber " * 50)


@case("a publication amid a subscriber's own compressed messages")
async def _(at):
    channel = f"/channels/amid-{os.urandom(6).hex()}"
    async with open_plain(at, channel, extensions=deflate()) as one, \
            open_plain(at, channel, extensions=deflate()) as two:
        expect("extension", agreed(two).split(";")[0], "permessage-deflate")
        for number in range(50):
            body = f"message {number} of the same words again and again " * 20
            await (one if number % 2 else two).send(body)
            for socket in (one, two):
                expect("publication", await socket.recv(), body)


@case("a reader that returns gets what it missed")
async def _(at):
    name = f"return-{os.urandom(6).hex()}"
    path = f"/channels/{name}"
    async with open_plain(at, path) as socket:
        position = socket.response.headers["Ringwire-Position"]
    for number in range(3):
        await asyncio.to_thread(publish, at, name, f"missed {number}".encode())
    async with open_plain(at, f"{path}?since={position}") as socket:
        for number in range(3):
            expect("replay", await socket.recv(), f"missed {number}")


@case("an epoch that is gone is closed with 3010 and the position")
async def _(at):
    path = f"/channels/gone-{os.urandom(6).hex()}?since=0123456789abcdef:7"
    async with open_plain(at, path) as socket:
        code, reason = await read_close(socket)
        expect("close code", code, 3010)
        expect("reason is a position", len(reason.split(":")[0]), 16)


@case("an origin that is not allowed is refused with 403")
async def _(at):
    try:
        async with open_plain(at, origin="https://evil.example"):
            raise AssertionError("was let in")
    except InvalidStatus as refused:
        expect("status", refused.response.status_code, 403)


@case("no version but 13 is spoken")
async def _(at):
    async def ask(version):
        host, port = at.ws.removeprefix("ws://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        writer.write((
            f"GET /echo HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: {version}\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ).encode())
        return (await reader.read()).decode()

    for version in (0, 7, 8, 12, 14):
        answer = await ask(version)
        expect("status", answer.split()[1], "426")
        expect("cure", "Sec-WebSocket-Version: 13" in answer, True)


def trusting(at):
    return ssl.create_default_context(cafile=at.authority)


@case("wss: TLS 1.3, compressed and plain")
async def _(at):
    for extensions in (None, deflate()):
        options = {"ssl": trusting(at), "extensions": extensions, "max_size": None}
        async with connect(at.wss + "/echo", compression=None, **options) as socket:
            version = socket.transport.get_extra_info("ssl_object").version()
            expect("version", version, "TLSv1.3")
            await say_much(socket)
            await say(socket, os.urandom(MESSAGE_BYTES_MAX))


@case("wss: TLS 1.2")
async def _(at):
    context = trusting(at)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with connect(at.wss + "/echo", ssl=context, compression=None) as socket:
        await say_much(socket)


@case("wss: a hundred publications through a channel")
async def _(at):
    path = f"/channels/tls-{os.urandom(6).hex()}"
    async with connect(at.wss + path, ssl=trusting(at)) as one, open_plain(at, path) as two:
        for number in range(100):
            body = f"{number} " * (1 + number * 20)
            await one.send(body)
            for socket in (one, two):
                expect("publication", await socket.recv(), body)


@case("a unix socket")
async def _(at):
    async with unix_connect(at.unix, "ws://localhost/echo", max_size=None) as socket:
        await say_much(socket)


main()
