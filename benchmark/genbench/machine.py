"""What this machine is called. Imports nothing heavy."""

import platform
from pathlib import Path


def processor() -> str:
    """Return the name of the CPU's model, as manifests have it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
