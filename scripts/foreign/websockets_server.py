"""An echo at /echo, and everybody hears everybody at /room, by Python's websockets."""

import asyncio
import signal

from websockets.asyncio.server import broadcast, serve

heard = 0
room = set()


async def speak(socket):
    global heard
    is_room = socket.request.path == "/room"
    if is_room:
        room.add(socket)
    try:
        async for message in socket:
            heard += 1
            if is_room:
                broadcast(room, message)
            else:
                await socket.send(message)
    finally:
        room.discard(socket)


async def main():
    stop = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set_result, None)
    async with serve(speak, "127.0.0.1", 0, compression=None) as server:
        print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await stop
        print(f"heard {heard}", flush=True)


asyncio.run(main())
