"""What a process costs: CPU time, peak memory; and on what machine."""

import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, all threads, user and system, those that ended included.

    The process's own CPU clock (clock_getcpuclockid(3)): the sum that ``/proc/PID/stat`` shows in
    steps of 10 ms, in nanoseconds. Raises OSError when it has ended.
    """
    return time.clock_gettime(~pid << 3 | 2)


def peak_rss_mb(pid: int) -> float:
    """The most memory a process had resident at once, in MiB: ``VmHWM``."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no VmHWM of {pid}")


def machine() -> dict[str, Any]:
    """The machine a bench ran on; ``load`` is the load average of the minute before."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory // 1024**2,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "java": _java(),
        "load": round(os.getloadavg()[0], 2),
    }


def _java() -> str:
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    return next((line for line in said.splitlines() if "Runtime" in line), said.strip())
