"""Requests that mean one thing to a proxy and another to the server behind it, sent raw.

Not here: the proxies (`suite_proxies.py`). Each case hides a second request, a publication to a
channel that the proxy closes; what counts is whether it was published. `through` is the proxy's
unix socket, or none: then the server is asked itself, and must end the connection with its refusal.
"""

import asyncio
import json
import os
import urllib.request

from tap import case, expect, main

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"
UPGRADE = ["Upgrade: websocket", "Connection: Upgrade"]
# How long a proxy and the server are given to act on what they should not have understood, and
# how long to do what they must.
SETTLE_SECONDS = 0.2
SECONDS_MAX = 10


def head(request, *lines):
    return ("\r\n".join([request, "Host: inside", *lines]) + "\r\n\r\n").encode()


def publication(channel):
    """The hidden request."""
    return head(f"POST /channels/{channel} HTTP/1.1", "Content-Length: 8") + b"smuggled"


async def send(at, data, seconds=SECONDS_MAX, until=None):
    """Sends bytes as they are; what comes back until the end, until `until` of it, or until the
    time is over; and whether it ended."""
    if at.through:
        reader, writer = await asyncio.open_unix_connection(at.through)
    else:
        host, port = at.ws.removeprefix("ws://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
    received, ended = b"", False
    try:
        writer.write(data)
        await writer.drain()
        async with asyncio.timeout(seconds):
            while chunk := await reader.read(65536):
                received += chunk
                if until and until(received):
                    return received, False
            ended = True
    except TimeoutError:
        pass
    except ConnectionError:
        ended = True
    finally:
        writer.close()
    return received, ended


def offset(at, channel):
    """How far a channel is, asked of the server itself."""
    with urllib.request.urlopen(f"{at.http}/channels/{channel}", timeout=5) as answer:
        return json.load(answer)["offset"]


def answers(number):
    """Whether so many answers were received, each with its body."""
    return lambda received: received.count(b'"offset":') == number


def patience(at):
    """Seconds for a refusal: the server itself ends the connection, a proxy may keep it."""
    return SETTLE_SECONDS if at.through else SECONDS_MAX


async def published(at, channel):
    return await asyncio.to_thread(offset, at, channel) > 0


def fresh(kind):
    return f"{kind}-{os.urandom(6).hex()}"


@case("the detector sees a publication that is let through")
async def _(at):
    open_to_all = fresh("open")
    received, _ = await send(at, publication(open_to_all), until=answers(1))
    expect("status", received[:12], b"HTTP/1.1 200")
    expect("published", await published(at, open_to_all), True)


@case("a pipelined second request is served as its own")
async def _(at):
    first, second = fresh("open"), fresh("open")
    both = publication(first) + publication(second)
    received, _ = await send(at, both, until=answers(2))
    expect("answers", received.count(b"HTTP/1.1 200"), 2)
    expect("published", await published(at, second), True)


@case("a WebSocket passes, with frames in the segment of its request")
async def _(at):
    frame = bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi"
    close = bytes([0x88, 0x82, 0, 0, 0, 0, 3, 0xE8])
    request = head("GET /echo HTTP/1.1", *UPGRADE, VERSION, KEY)
    received, ended = await send(at, request + frame + close)
    expect("status", received[:12], b"HTTP/1.1 101")
    expect("echo and close", received.endswith(b"\x81\x02hi\x88\x02\x03\xe8"), True)
    expect("ended", ended, True)


async def expect_refusal(at, forbidden, received, ended):
    expect("published", await published(at, forbidden), False)
    if not at.through:
        expect("refused", received[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5"), True)
        expect("answers", received.count(b"HTTP/1.1 "), 1)
        expect("ended", ended, True)


# Upgrades that must be refused. What follows each is the hidden publication.
REFUSED = {
    "version 7": head("GET /echo HTTP/1.1", *UPGRADE, "Sec-WebSocket-Version: 7", KEY),
    "version 8": head("GET /echo HTTP/1.1", *UPGRADE, "Sec-WebSocket-Version: 8", KEY),
    "version 777": head("GET /echo HTTP/1.1", *UPGRADE, "Sec-WebSocket-Version: 777", KEY),
    "two versions": head("GET /echo HTTP/1.1", *UPGRADE, VERSION, VERSION.replace("13", "8"), KEY),
    "no version": head("GET /echo HTTP/1.1", *UPGRADE, KEY),
    "no key": head("GET /echo HTTP/1.1", *UPGRADE, VERSION),
    "a short key": head("GET /echo HTTP/1.1", *UPGRADE, VERSION, "Sec-WebSocket-Key: c2hvcnQ="),
    "two keys": head("GET /echo HTTP/1.1", *UPGRADE, VERSION, KEY, KEY),
    "an unknown path": head("GET /nothing HTTP/1.1", *UPGRADE, VERSION, KEY),
    "a method with no WebSocket": head("DELETE /echo HTTP/1.1", *UPGRADE, VERSION, KEY),
    "HTTP/1.0": head("GET /echo HTTP/1.0", *UPGRADE, VERSION, KEY),
    "a foreign origin": head(
        "GET /echo HTTP/1.1", *UPGRADE, VERSION, KEY, "Origin: https://evil.example"
    ),
    "h2c": head(
        "GET /echo HTTP/1.1", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
    ),
}

# A proxy may ask in HTTP/1.1 for a client that asked in 1.0.
TRANSLATED = "HTTP/1.0"

for name, request in REFUSED.items():

    @case(f"a refused upgrade lets nothing pass: {name}")
    async def _(at, name=name, request=request):
        forbidden = fresh("forbidden")
        received, ended = await send(at, request + publication(forbidden), patience(at))
        if not (at.through and name == TRANSLATED):
            expect("upgraded", b" 101 " in received[:13], False)
        await expect_refusal(at, forbidden, received, ended)


def bodies(hidden):
    """Requests whose length can be read in two ways, with a publication where they differ."""
    length = f"Content-Length: {len(hidden)}"
    post = "POST /channels/open HTTP/1.1"
    chunk = f"{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n"
    chunked = "Transfer-Encoding: chunked"
    return {
        "an upgrade with a body":
            head("GET /echo HTTP/1.1", *UPGRADE, VERSION, KEY, length) + hidden,
        "an upgrade with a chunked body":
            head("GET /echo HTTP/1.1", *UPGRADE, VERSION, KEY, chunked) + b"0\r\n\r\n" + hidden,
        "both lengths, chunks first": head(post, length, chunked) + b"0\r\n\r\n" + hidden,
        "both lengths, count first": head(post, "Content-Length: 3", chunked) + chunk,
        "two counts": head(post, "Content-Length: 0", length) + hidden,
        "two counts in a list": head(post, f"Content-Length: 0, {len(hidden)}") + hidden,
        "a count with a sign": head(post, f"Content-Length: +{len(hidden)}") + hidden,
        "a count in hexadecimal": head(post, f"Content-Length: 0x{len(hidden):x}") + hidden,
        "a count too large": head(post, f"Content-Length: {2**64}") + hidden,
        "a space before the colon": head(post, length.replace(":", " :")) + hidden,
        "a coding nobody knows": head(post, "Transfer-Encoding: xchunked") + chunk,
        "chunked twice": head(post, chunked, chunked) + chunk,
        "chunked not last": head(post, "Transfer-Encoding: chunked, identity") + chunk,
        "a tab before chunked": head(post, "Transfer-Encoding:\tchunked", length) + hidden,
        "a folded coding": head(post, "Transfer-Encoding:\r\n chunked", length) + hidden,
        "a vertical tab in the coding": head(post, "Transfer-Encoding: \vchunked", length) + hidden,
        "a bare LF before the coding": head(post, f"X: y\n{chunked}", length) + hidden,
        "a bare CR before the coding": head(post, f"X: y\r{chunked}", length) + hidden,
        "a NUL in a value": head(post, "X: y\0z", length.replace("Content", "X")) + hidden,
        "an empty name": head(post, ": empty", "Content-Length: 0") + hidden,
        "a chunk's size with a sign":
            head(post, chunked) + f"+{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n",
        "a chunk's size with 0x":
            head(post, chunked) + f"0x{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n",
        "a chunk's line ended by LF":
            head(post, chunked) + f"{len(hidden):x}\n".encode() + hidden + b"\r\n0\r\n\r\n",
        "an extension with a bare LF":
            head(post, chunked) + b"1;a\nb\r\nx\r\n0\r\n\r\n" + hidden,
        "a chunk without its end": head(post, chunked) + b"1\r\nxx0\r\n\r\n" + hidden,
        "a trailer with a length": head(post, chunked) + b"0\r\nContent-Length: 5\r\n\r\n" + hidden,
        "two hosts": head(post, "Host: other", "Content-Length: 0") + hidden,
    }


# The one that is no riddle for who reads trailers: what follows it is a request of its own.
PLAIN = "a trailer with a length"

for name in bodies(b""):

    @case(f"a length that can be read in two ways: {name}")
    async def _(at, name=name):
        forbidden = fresh("forbidden")
        riddle = bodies(publication(forbidden))[name]
        if name == PLAIN and not at.through:
            await send(at, riddle, until=answers(2))
            return
        received, ended = await send(at, riddle, patience(at))
        await expect_refusal(at, forbidden, received, ended)


main()
