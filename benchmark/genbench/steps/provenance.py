"""Where and with what a step ran: hardware, versions, code. Recorded, never part of an identity."""

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from genbench import __version__
from genbench.machine import processor

_LIBRARIES = ("torch", "torchvision", "diffusers", "timm", "numpy", "scipy", "datasets")


@cache
def hardware(device: str) -> Mapping[str, Any]:
    """Describe the machine as far as it touches numbers or time."""
    import torch

    facts = {
        "device": device,
        "processor": processor(),
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
    }
    if device.startswith("cuda"):
        facts["device"] = torch.cuda.get_device_name(device)
        facts["cuda"] = torch.version.cuda
        facts["tf32"] = tf32()
    return facts


def choose_arithmetic() -> None:
    """Let `precision=fp32` be float32 on a GPU, too: products and convolutions without TensorFloat-32.

    Torch's default rounds the inputs of cuDNN's convolutions to 10 bits: features, FID and attacks would
    depend on the GPU's generation. Who wants the speed of low precision says `precision=bf16`.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")


def tf32() -> str:
    """Say where torch may round float32 to TensorFloat-32 on a GPU: `off`, or in what."""
    import torch

    places = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "products": torch.get_float32_matmul_precision() != "highest",
    }
    return ", ".join(name for name, allowed in places.items() if allowed) or "off"


@cache
def versions() -> Mapping[str, str]:
    """Return the versions of genbench, Python and the libraries that touch numbers."""
    found = {"genbench": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str:
    """Return the commit of genbench's own source; empty where none is known, `-dirty` where files differ.

    A checkout answers through git, an installation from a repository through what pip noted (PEP 610).
    """
    source = Path(__file__).resolve().parents[3]
    if (source / ".git").exists():
        asked = ["git", "-C", str(source), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            return subprocess.run(
                asked, capture_output=True, text=True, check=True, timeout=10
            ).stdout.strip()
    with contextlib.suppress(metadata.PackageNotFoundError, ValueError, AttributeError):
        noted = json.loads(metadata.distribution("genbench").read_text("direct_url.json") or "{}")
        return str(noted.get("vcs_info", {}).get("commit_id", ""))
    return ""


def forget_peak_memory(device: str) -> None:
    """Let `peak_memory_bytes` begin anew: a step does not answer for those before it in its worker."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with contextlib.suppress(OSError):  # Linux alone can: elsewhere, the peak is the process's
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_bytes(device: str) -> int:
    """Return the peak of GPU memory on a GPU, else of this process's memory."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError, StopIteration):
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in status if line.startswith("VmHWM")).split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak) if sys.platform == "darwin" else int(peak) * 1024
