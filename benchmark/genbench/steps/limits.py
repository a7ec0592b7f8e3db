"""How much memory a process may take."""

import contextlib
import os

RESIDENT_SHARE = 0.25  #: of `--max-memory`, for image sets


def limit_memory(gibibytes: float, device: str) -> None:
    """Hold this process to an amount of memory: of the device on a GPU, of its data elsewhere.

    A step that needs more fails, and says which option needs less; sets are held in memory up to a quarter.
    """
    os.environ["GENBENCH_RESIDENT_MIB"] = str(int(gibibytes * 1024 * RESIDENT_SHARE))
    if device.startswith("cuda"):
        import torch

        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gibibytes * 2**30 / whole))
        return
    with contextlib.suppress(ImportError):  # no such limits on Windows
        import resource

        limit = int(gibibytes * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
