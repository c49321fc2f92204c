"""An MCP server for the tests. Its first argument says of which kind it is, its tools what it does."""

import json
import os
import signal
import subprocess
import sys
import threading

KIND = sys.argv[1]
VERSIONS = {"old": "2024-11-05", "odd": "1999-01-01", "stateless": "2026-07-28"}

seen = []
held = []
discoveries = []
greeted = False


def write(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def send(**message):
    write(json.dumps({"jsonrpc": "2.0", **message}))


def result(message, value):
    send(id=message["id"], result=value)


def error(message, code):
    send(id=message["id"], error={"code": code, "message": "no"})


def progress(token, **more):
    send(method="notifications/progress", params={"progressToken": token, "progress": 1, **more})


def token(message):
    return message["params"].get("_meta", {}).get("progressToken")


def for_ever():
    threading.Event().wait()


def greet(message):
    """Whether the message belongs to the handshake, as this kind of server knows it."""
    global greeted
    method = message.get("method")
    modern = KIND in ("modern", "slow")
    if KIND == "silent":
        return True
    if method == "server/discover":
        if KIND == "slow":
            discoveries.append(message)
        elif KIND == "exits":
            sys.exit(4)
        elif modern:
            result(message, {"supportedVersions": ["2026-07-28"], "capabilities": {}})
        elif KIND == "agrees":
            result(message, {})
        elif KIND != "mute":
            error(message, -32601)
        return True
    if method == "initialize":
        for old in discoveries:
            result(old, {"supportedVersions": ["2026-07-28"], "capabilities": {}})
        if modern or KIND == "neither":
            error(message, -32601)
        else:
            version = VERSIONS.get(KIND, message["params"]["protocolVersion"])
            result(message, {"protocolVersion": version, "capabilities": {}, "serverInfo": {}})
        return True
    if method == "notifications/initialized":
        greeted = True
        return True
    return False


def call(message):
    name = message["params"]["name"]
    arguments = message["params"].get("arguments")
    if name == "seen":
        result(message, {"seen": seen, "greeted": greeted})
    elif name == "hold":
        held.append(message)
    elif name == "release":
        for old in reversed(held):
            result(old, {"arguments": old["params"]["arguments"]})
        held.clear()
        result(message, {"structured": True})
    elif name == "progress":
        progress(10**9)
        progress("t")
        for old in held:
            progress(token(old), message=old["params"]["arguments"])
        result(message, {})
    elif name == "refuse":
        error(message, -32000)
    elif name == "neither":
        write('{"jsonrpc":"2.0","id":%d,"result":[1]}' % message["id"])
    elif name == "spaces":
        write('\ufeff nothing\n[]\n{"a":1,"a":2}\n{"id":null,"error":{}}')
        progress(token(message))
        write('{\r"result": {\r"a":\r1.0e0},"id":%d\r}' % message["id"])
    elif name == "die":
        os._exit(3)
    elif name == "close":
        os.close(1)
        for_ever()
    elif name == "long":
        text = "x" * (17 << 20)
        if arguments == "first":
            send(id=message["id"], result={"text": text})
        elif arguments == "last":
            send(result={"text": text, "id": held[0]["id"]}, id=message["id"])
        else:
            write(json.dumps(text))
    elif name == "flood":
        for _ in range(40):
            progress(token(held[0]), message="x" * (1 << 20))
        result(message, {})
    elif name == "complain":
        for _ in range(200):
            sys.stderr.write("x" * 65536 + "\n" * 1000)
        sys.stderr.flush()
        result(message, {})
    elif name == "ask":
        send(id="p", method="ping")
        send(id=2, method="sampling/createMessage", params={})
        send(id=None, method="ping")
        send(id="x" * 1000, method="ping")
        send(method="notifications/tools/list_changed")
        send(method="notifications/message", params={"level": "info", "data": "x"})
        result(message, {})
    elif name == "surroundings":
        files = {}
        for number in os.listdir("/proc/self/fd"):
            try:
                files[number] = os.readlink("/proc/self/fd/" + number)
            except OSError:
                pass
        environment = dict(os.environ)
        where = os.getcwd()
        result(message, {"environment": environment, "files": files, "directory": where})
    elif name == "processes":
        other = subprocess.Popen(["sleep", "1000"])
        if arguments == "stubborn":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            result(message, {"leader": os.getpid(), "other": other.pid})
            for_ever()
        result(message, {"leader": os.getpid(), "other": other.pid})
    elif name == "deaf":
        result(message, {"leader": os.getpid()})
        for_ever()


with open("starts", "a") as starts:
    starts.write(f"{os.getpid()}\n")
if KIND == "crash":
    sys.exit(7)
if KIND != "modern":
    write("Welcome!")
for line in sys.stdin:
    message = json.loads(line)
    seen.append(message)
    if not greet(message) and message.get("method") == "tools/call":
        call(message)
