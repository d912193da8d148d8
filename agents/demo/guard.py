"""Ends what a process started, also when that process is killed: python -m agents.demo.guard.

Reads lines ``+PID``, ``-PID`` and ``/FOLDER`` from standard input. When the input ends, because its
writer ended or was killed, every process group named and not taken back is killed, and the folders
are removed.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


class Guard:
    """A guard for this process; made once, the first time something is started."""

    _made: "Guard | None" = None

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "agents.demo.guard"],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us; the guard ends with us
        )

    @classmethod
    def of_this_process(cls) -> "Guard":
        if cls._made is None:
            cls._made = cls()
        return cls._made

    def watch(self, pid: int) -> None:
        """End the process group of ``pid`` when we end."""
        self._say(f"+{pid}")

    def release(self, pid: int) -> None:
        """``pid`` has ended: its number may be another's by now."""
        self._say(f"-{pid}")

    def sweep(self, folder: Path) -> None:
        """Remove ``folder`` when we end."""
        self._say(str(folder.absolute()))

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()


def main() -> None:
    watched: set[int] = set()
    folders: list[str] = []
    for line in sys.stdin.buffer:
        if line.startswith(b"/"):
            folders.append(line.decode().rstrip("\n"))
            continue
        pid = int(line[1:])
        if line.startswith(b"+"):
            watched.add(pid)
        else:
            watched.discard(pid)
    for pid in watched:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    for folder in folders:
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not os.path.exists(folder):
                break
            time.sleep(0.1)  # those just killed may still be closing their files


if __name__ == "__main__":
    main()
