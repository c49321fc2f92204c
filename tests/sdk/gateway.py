"""The gateway as a process of its own, before its simulated provider."""

import os
import re
import subprocess
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What `demo` and `serve` say when they listen.
ANNOUNCEMENT = re.compile(
    r'^Sluicegate listens on (http://\S+)|"message":"listening","proxy":"([^"]+)"'
)
# Guards against a hang, and are never reached by a gateway that works. The gateway itself leaves
# within `shutdown.timeout`, 30 s unless configured.
START_SECONDS = 30
STOP_SECONDS = 45


class Gateway:
    """A running `sluicegate demo`, or `sluicegate serve` where there is a configuration.

    Its files are in `directory`, the owner's alone.
    """

    def __init__(
        self, directory: Path, config: str | None = None, environment: dict[str, str] | None = None
    ):
        command = ["demo", "--listen", "127.0.0.1:0"]
        if config is not None:
            file = directory / "sluicegate.yaml"
            file.write_text(config, encoding="utf-8")
            command = ["serve", "--config", file]
        self.url = ""
        self._stderr: list[str] = []
        self._announced = threading.Event()
        with open(directory / "access.log", "wb") as access_log:
            self._process = subprocess.Popen(
                [binary(), *command, "--upgrade-socket", directory / "upgrade.sock"],
                # Nothing of ours may configure it, such as ENVIRONMENT or RUST_LOG.
                env=environment or {},
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=access_log,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
        # Read to the end, or the gateway would block on a full pipe.
        self._reader = threading.Thread(
            target=self._read_stderr, name="gateway stderr", daemon=True
        )
        self._reader.start()
        try:
            self._wait_for_announcement()
        except BaseException:
            self._kill()
            raise

    def stop(self) -> None:
        """Lets it drain, and fails unless it leaves by itself with exit code 0."""
        self._process.terminate()
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill()
            raise AssertionError(f"SIGTERM did not end the gateway:\n{self.stderr}") from None
        self._reader.join(STOP_SECONDS)
        assert code == 0, f"the gateway left with exit code {code}:\n{self.stderr}"

    @property
    def stderr(self) -> str:
        """What it has said of itself until now."""
        return "".join(self._stderr)

    def _read_stderr(self) -> None:
        with self._process.stderr as lines:
            for line in lines:
                self._stderr.append(line)
                if said := ANNOUNCEMENT.search(line):
                    self.url = said[1] or f"http://{said[2]}"
                    self._announced.set()
        # It has closed the pipe: whoever still waits need not.
        self._announced.set()

    def _wait_for_announcement(self) -> None:
        announced = self._announced.wait(START_SECONDS)
        if not announced or not self.url:
            raise AssertionError(f"the gateway does not listen:\n{self.stderr}")

    def _kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join(STOP_SECONDS)


def binary() -> Path:
    """`SLUICEGATE_BIN`, or what `cargo build` makes."""
    return built(os.environ.get("SLUICEGATE_BIN") or ROOT / "target/debug/sluicegate")


def simulator() -> Path:
    """The simulator as a program: `SIMULATOR_BIN`, or what `cargo build` makes."""
    return built(os.environ.get("SIMULATOR_BIN") or ROOT / "target/debug/sluicegate-simulator")


def built(path: str | Path) -> Path:
    path = Path(path).absolute()
    if not path.is_file():
        raise AssertionError(f"{path} is not there: cargo build --workspace --bins")
    return path
