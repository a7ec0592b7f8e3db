"""Hardware and versions of this machine as JSON; fails where a requirement of genbench cannot be imported."""

import importlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from pathlib import Path

import torch

import genbench


def main() -> None:
    """Print the facts."""
    versions = {"python": platform.python_version()}
    for line in importlib.metadata.requires("genbench") or []:
        if "extra ==" not in line:
            name = re.split(r"[<>=\[ ;]", line)[0]
            versions[name] = importlib.metadata.version(name)
    for name in ("datasets", "diffusers", "pydantic", "pluggy", "timm"):
        importlib.import_module(name)
    found = importlib.metadata.entry_points(group="genbench")
    if not found:
        sys.exit("genbench's entry points are missing: its wheel is not installed")
    if not Path(genbench.__file__).is_relative_to(Path.cwd()):
        sys.exit(f"genbench comes from {genbench.__file__}, not from the tree in {Path.cwd()}")
    facts: dict[str, object] = {"versions": versions, "genbench": genbench.__version__, "plugins": len(found)}
    facts |= {"system": platform.platform(), "cores": len(os.sched_getaffinity(0)), "device": "cpu"}
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        facts |= {"device": card.name, "device_memory_bytes": card.total_memory, "cuda": torch.version.cuda}
        facts |= {"cudnn": torch.backends.cudnn.version(), "multiprocessors": card.multi_processor_count}
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
