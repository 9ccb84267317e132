"""Clients that speak no compression: Python `websocket-client`, and libcurl's WebSocket in C.

Not here: what needs a library that can be told to break rules (`peer_websockets.py`).
"""

import asyncio
import os

import curl_cffi
import websocket
from curl_cffi.const import CurlWsFlag

from tap import case, expect, main

MESSAGES = ["a", "", "\u00e9\U0001f600" * 1000, b"\x00\xff", os.urandom(70_000), os.urandom(1 << 20)]


def visit_with_websocket_client(url, **options):
    socket = websocket.create_connection(url, timeout=10, **options)
    for message in MESSAGES:
        text = isinstance(message, str)
        (socket.send if text else socket.send_binary)(message)
        expect("echo", socket.recv(), message)
    socket.ping("still there")
    frame = socket.recv_frame()
    expect("pong", (frame.opcode, frame.data), (websocket.ABNF.OPCODE_PONG, b"still there"))
    socket.send_close(3456, b"done")
    frame = socket.recv_frame()
    expect("close", (frame.opcode, frame.data[:2]), (8, (3456).to_bytes(2, "big")))
    socket.shutdown()


@case("websocket-client: echo, ping, close")
async def _(at):
    await asyncio.to_thread(visit_with_websocket_client, at.ws + "/echo")


@case("websocket-client: over TLS")
async def _(at):
    options = {"sslopt": {"ca_certs": at.authority}}
    await asyncio.to_thread(visit_with_websocket_client, at.wss + "/echo", **options)


@case("websocket-client: subprotocol")
async def _(at):
    socket = await asyncio.to_thread(
        websocket.create_connection, at.ws + "/echo", subprotocols=["second", "first"]
    )
    expect("subprotocol", socket.getsubprotocol(), "first")
    socket.close()


def visit_with_curl(url, **options):
    with curl_cffi.Session(**options) as session:
        socket = session.ws_connect(url)
        # Its Python binding sends nothing at all for an empty message.
        for message in filter(None, MESSAGES):
            text = isinstance(message, str)
            data = message.encode() if text else message
            kind = CurlWsFlag.TEXT if text else CurlWsFlag.BINARY
            socket.send(data, kind)
            back, flags = socket.recv()
            expect("echo", back, data)
            expect("kind", bool(flags & CurlWsFlag.TEXT), text)
        socket.close(3456, b"done")


@case("libcurl: echo and close")
async def _(at):
    await asyncio.to_thread(visit_with_curl, at.ws + "/echo")


@case("libcurl: over TLS")
async def _(at):
    await asyncio.to_thread(visit_with_curl, at.wss + "/echo", verify=at.authority)


main()
