"""Python `websockets` as the server of the load generator: an echo.

    server_websockets.py [--compression] [--subprotocol NAME] [--certificate FILE]

Prints `listening on ADDRESS` and runs until it is ended.
"""

import argparse
import asyncio
import ssl

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def echo(socket):
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass


async def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--compression", action="store_true")
    flags.add_argument("--subprotocol")
    flags.add_argument("--certificate")
    flags = flags.parse_args()
    context = None
    if flags.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(flags.certificate)
    compression = "deflate" if flags.compression else None
    options = {"compression": compression, "ssl": context}
    if flags.subprotocol:
        options["subprotocols"] = [flags.subprotocol]
    async with serve(echo, "127.0.0.1", 0, max_size=None, **options) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()


asyncio.run(main())
