"""The SDKs for Node: their tests are in `node/`, and run against the same gateway."""

import os
import shutil
import subprocess
from pathlib import Path

NODE = Path(__file__).parent / "node"
# A guard against a hang; the tests themselves take seconds.
SECONDS = 120


def test_node(gateway):
    program = shutil.which("node")
    assert program, "node is not there: make test-tools"
    assert (NODE / "node_modules").is_dir(), "the SDKs are not there: make test-tools"
    done = subprocess.run(
        [program, "--test"],
        cwd=NODE,
        # Nothing else may configure the SDKs.
        env={"PATH": os.environ["PATH"], "BASE_URL": gateway},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout
    assert "# fail 0" in done.stdout or "ℹ fail 0" in done.stdout, done.stdout
