"""A forwarder that speaks TLS on one side and plain TCP on the other, for programs that know
only the plain side.

    forward.py --to-tls HOST:PORT --authority CA.pem     plain here, TLS there
    forward.py --to-plain HOST:PORT --certificate F.pem  TLS here, plain there

Prints `listening on ADDRESS` and runs until it is ended. Bytes pass as they come, in both
directions at once; the end of either side ends the other once it has what was sent.
"""

import argparse
import asyncio
import contextlib
import ssl

CHUNK_BYTES = 256 * 1024


async def pass_on(reader, writer):
    """Passes bytes until there are no more, then ends the other side."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while chunk := await reader.read(CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, ssl.SSLError):
        writer.close()
        await writer.wait_closed()


async def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("--to-tls")
    flags.add_argument("--to-plain")
    flags.add_argument("--authority")
    flags.add_argument("--certificate")
    flags = flags.parse_args()
    host, port = (flags.to_tls or flags.to_plain).rsplit(":", 1)
    outward = inward = None
    if flags.to_tls:
        outward = ssl.create_default_context(cafile=flags.authority)
    else:
        inward = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inward.load_cert_chain(flags.certificate)

    async def forward(reader, writer):
        try:
            there, thither = await asyncio.open_connection(host, port, ssl=outward)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(pass_on(reader, thither), pass_on(there, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=inward)
    address = server.sockets[0].getsockname()
    print(f"listening on {address[0]}:{address[1]}", flush=True)
    await server.serve_forever()


asyncio.run(main())
