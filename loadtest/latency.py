#!/usr/bin/env python3
"""How long an event of a stream is under way in the gateway.

    loadtest/latency.py [--sluicegate target/release/sluicegate] [--events 500] [--every 10]

Starts the gateway before a provider of its own, which sends an event every so many milliseconds, cut in
another way in each round, and says how long after its last piece was written the caller had all of the event:
once through the gateway, once without. Both ends are threads of this program and have one clock.
"""

import argparse
import http.client
import json
import pathlib
import socket
import statistics
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
CONFIG = """environment: development
listeners:
  proxy: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
  metrics: {{ address: "127.0.0.1:0" }}
auth: {{ anonymous: true }}
providers:
  clock: {{ dialect: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: sk-clock }}
models:
  clock:
    targets: [{{ provider: clock, model: clock }}]
"""


def whole(event: bytes) -> list[bytes]:
    return [event]


def before_the_blank_line(event: bytes) -> list[bytes]:
    return [event[:-1], event[-1:]]


def in_the_middle(event: bytes) -> list[bytes]:
    return [event[: len(event) // 2], event[len(event) // 2 :]]


def in_the_name_of_its_field(event: bytes) -> list[bytes]:
    return [event[:3], event[3:]]


def in_pieces_of_seven(event: bytes) -> list[bytes]:
    return [event[at : at + 7] for at in range(0, len(event), 7)]


def with_a_comment(event: bytes) -> list[bytes]:
    return [b": still here\n\n" + event]


CUTS = [
    whole,
    before_the_blank_line,
    in_the_middle,
    in_the_name_of_its_field,
    in_pieces_of_seven,
    with_a_comment,
]


class Provider:
    """Answers each connection's one request with a stream, and notes when each event was written."""

    def __init__(self, events: int, every: float) -> None:
        self.events, self.every, self.cut = events, every, whole
        self.written: list[int] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.answer, args=(connection,), daemon=True).start()

    def answer(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while not asked.endswith(b"}"):
            more = connection.recv(65536)
            if not more:
                return
            asked += more
        connection.sendall(HEAD)
        self.written = []
        for number in range(self.events):
            time.sleep(self.every)
            *first, last = self.cut(self.event(number))
            for piece in first:
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.written.append(time.monotonic_ns())
            connection.sendall(b"%x\r\n%s\r\n" % (len(last), last))
        connection.sendall(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
        connection.close()

    @staticmethod
    def event(number: int) -> bytes:
        delta = {"index": 0, "delta": {"content": f"event {number} "}, "finish_reason": None}
        chunk = {"id": "c", "object": "chat.completion.chunk", "model": "clock", "choices": [delta]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def read(port: int, events: int) -> list[int]:
    """When each event was there."""
    message = {"role": "user", "content": "go"}
    body = json.dumps({"model": "clock", "stream": True, "messages": [message]})
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
    answer = client.getresponse()
    seen: list[int] = []
    got = b""
    # To the end, so that nothing of this stream is left when the next one is measured.
    while more := answer.read1(65536):
        now = time.monotonic_ns()
        *whole, got = (got + more).split(b"\n\n")
        seen += [now for event in whole if b'"event ' in event]
    client.close()
    if len(seen) != events:
        raise SystemExit(f"{len(seen)} of {events} events came, status {answer.status}: {got!r}")
    return seen


def measure(provider: Provider, port: int) -> list[float]:
    seen = read(port, provider.events)
    return [(there - sent) / 1e6 for sent, there in zip(provider.written, seen, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sluicegate", default=ROOT / "target/release/sluicegate", type=pathlib.Path)
    parser.add_argument("--events", default=500, type=int)
    parser.add_argument("--every", default=10, type=float, help="milliseconds between events")
    arguments = parser.parse_args()
    provider = Provider(arguments.events, arguments.every / 1e3)
    with tempfile.TemporaryDirectory() as directory:
        config = pathlib.Path(directory) / "sluicegate.yaml"
        config.write_text(CONFIG.format(port=provider.port))
        gateway = subprocess.Popen(
            [arguments.sluicegate.resolve(), "serve", "--config", config],
            cwd=directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for line in gateway.stderr:
                said = json.loads(line)
                if said.get("message") == "listening":
                    port = int(said["proxy"].rsplit(":", 1)[1])
                    break
            else:
                raise SystemExit("the gateway did not start")
            # Nobody reads the log any more, and it must not fill its pipe.
            threading.Thread(target=gateway.stderr.read, daemon=True).start()
            print("| events, cut | direct: median, 99 %, longest, ms | through the gateway |")
            print("|---|---|---|")
            for cut in CUTS:
                provider.cut = cut
                columns = []
                for to in (provider.port, port):
                    delays = sorted(measure(provider, to))
                    part = (statistics.median(delays), delays[len(delays) * 99 // 100], delays[-1])
                    columns.append(", ".join(f"{delay:.2f}" for delay in part))
                print(f"| {cut.__name__.replace('_', ' ')} | {columns[0]} | {columns[1]} |")
        finally:
            gateway.terminate()
            gateway.wait()


main()
