#!/usr/bin/env python3
"""Tries k8s/components/reload/watch.sh on a gateway that runs, as the kubelet would: it swaps the directory
behind `..data`, and the gateway has to serve the new certificate and know the new secret, while a connection
that was open before goes on.

    check_reload.py SLUICEGATE

The script looks for a process called `sluicegate`, and every such process on this machine would be sent a
SIGHUP: so it is given a process namespace of its own where that can be made, and is not run elsewhere.
"""

import http.client
import json
import os
import pathlib
import re
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import time

SCRIPT = pathlib.Path(__file__).resolve().parent.parent / "k8s/components/reload/watch.sh"
# Of the image, if it is here.
SHELL = ["busybox", "sh"] if shutil.which("busybox") else ["sh"]
# Far longer than anything takes; only a failure waits for it.
LONG = 60

CONFIG = """
environment: development
listeners:
  proxy:
    address: 127.0.0.1:0
    tls: {{ certificate: {tls}/tls.crt, key: {tls}/tls.key }}
  admin: {{ address: 127.0.0.1:0 }}
  metrics: {{ address: 127.0.0.1:0 }}
store: {{ sqlite: {{ path: ":memory:" }} }}
admin: {{ master_key: "file:{keys}/master-key" }}
"""


class Mounted:
    """A directory as the kubelet makes it of a Secret."""

    def __init__(self, path):
        self.path = path
        self.version = 0
        path.mkdir(parents=True)

    def put(self, files):
        self.version += 1
        version = self.path / f"..{self.version}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").rename(self.path / "..data")
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")


def certificate(directory):
    key, crt = directory / "k.pem", directory / "c.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", key, "-out", crt],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return {"tls.key": key.read_bytes(), "tls.crt": crt.read_bytes()}


def until(true, what):
    end = time.monotonic() + LONG
    while not true():
        if time.monotonic() > end:
            sys.exit(f"check_reload: {what}: not within {LONG} seconds")
        time.sleep(0.05)


def served(port):
    return ssl.get_server_certificate(("127.0.0.1", port)).strip().encode()


def models(port, key):
    """The status of a call with this key."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=ssl._create_unverified_context())
    connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
    return connection.getresponse().status


def check(gateway, work):
    # What is in /proc is the name of the program's file.
    program = work / "sluicegate"
    program.symlink_to(pathlib.Path(gateway).resolve())
    tls, keys = Mounted(work / "run/tls"), Mounted(work / "run/keys")
    before, after = ("sk-" + secrets.token_hex(32) for _ in range(2))
    first = certificate(work)
    tls.put(first)
    keys.put({"master-key": before.encode()})
    config = work / "sluicegate.yaml"
    config.write_text(CONFIG.format(tls=tls.path, keys=keys.path))

    process = subprocess.Popen(
        [program, "serve", "--config", config, "--upgrade-socket", work / "upgrade/upgrade.sock"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        said = json.loads(line)
        if said.get("message") == "listening":
            break
    else:
        sys.exit("check_reload: the gateway did not start")
    port = int(re.search(r":(\d+)$", said["proxy"]).group(1))
    watcher = subprocess.Popen(
        [*SHELL, SCRIPT, work / "run"], env={**os.environ, "RELOAD_SECONDS": "0.2"}, stdout=subprocess.PIPE, text=True
    )
    try:
        kept = http.client.HTTPSConnection("127.0.0.1", port, context=ssl._create_unverified_context())
        kept.request("GET", "/health/live")
        assert kept.getresponse().read()
        open_before = kept.sock
        assert served(port) == first["tls.crt"].strip()
        assert models(port, before) == 200 and models(port, after) == 401
        # Only then has it noted how things are.
        assert watcher.stdout.readline().startswith("watching")

        second = certificate(work)
        tls.put(second)
        until(lambda: served(port) == second["tls.crt"].strip(), "the new certificate")
        keys.put({"master-key": after.encode()})
        until(lambda: models(port, after) == 200, "the new key")
        assert models(port, before) == 401, "the old key is still good"

        kept.request("GET", "/health/live")
        assert kept.getresponse().status == 200 and kept.sock is open_before, "the connection did not last"
        assert process.poll() is None
    finally:
        watcher.terminate()
        stopped = watcher.wait(LONG)
        process.terminate()
        left = process.wait(LONG)
    assert stopped == 0 and left == 0, f"left with {stopped} and {left}"
    print("reload: a certificate and a secret were changed under a connection that lasted")


def main():
    [gateway] = sys.argv[1:]
    if os.environ.get("CHECK_RELOAD_ALONE") != "yes":
        alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if subprocess.run([*alone, "true"], stderr=subprocess.DEVNULL, check=False).returncode != 0:
            print("reload: not tried, as no process namespace can be made here")
            return
        os.environ["CHECK_RELOAD_ALONE"] = "yes"
        os.execvp(alone[0], [*alone, sys.executable, __file__, gateway])
    with tempfile.TemporaryDirectory() as work:
        check(gateway, pathlib.Path(work))


if __name__ == "__main__":
    main()
