"""Runs a server in a network of its own and hands it what comes to loopback ports of ours.

    python namespace.py ADDRESS FROM:TO... -- COMMAND...

Each FROM is a port of 127.0.0.1 here, each TO a port of ADDRESS there. There nothing else is reachable: only loopback is up.
Where a container may not make a namespace (that takes CAP_SYS_ADMIN), the server shares ours and has ADDRESS to itself.
Ends with the command's exit code; SIGTERM ends the command first.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys

_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def enter_own_network() -> bool:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))
    return True


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def _serve(listener: socket.socket, address: str, port: int) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, answers = await asyncio.open_connection(address, port)
        except OSError:  # the caller sees what it would see: nobody listens
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, answers), _pump(there, writer))

    return await asyncio.start_server(connected, sock=listener)


async def _run(listeners: list[tuple[socket.socket, int]], address: str, command: list[str]) -> int:
    servers = [await _serve(listener, address, port) for listener, port in listeners]
    # samba ends when its standard input does, so it does not outlive this process.
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, process.terminate)
    code = await process.wait()
    for server in servers:
        server.close()
    return code


def main(argv: list[str]) -> int:
    split = argv.index("--")
    address, pairs, command = argv[0], argv[1:split], argv[split + 1 :]
    listeners = []
    for pair in pairs:
        here, there = map(int, pair.split(":"))
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", here))
        listener.listen(64)
        listeners.append((listener, there))
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # nor this one the tests
    enter_own_network()
    return asyncio.run(_run(listeners, address, command))


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # connections under way do not hold it up
