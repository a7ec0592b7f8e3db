"""Is there a GPU, and can torch use it? The driver is asked first: without one, nobody imports torch."""

import ctypes
from collections.abc import Callable
from typing import NamedTuple

from genbench.errors import UsageError


class Workers(NamedTuple):
    """Where a run's steps compute: fields of `RunOptions`.

    Attributes:
        device: `"cpu"` or `"cuda"`.
        gpus: How many GPUs are shared out among the workers; 0 on a CPU.
        jobs: Worker processes: by default one per core on a CPU, one per GPU else.
    """

    device: str
    gpus: int
    jobs: int


def choose_workers(
    device: str,
    jobs: int | None,
    notice: Callable[[str], None] = lambda message: None,
    *,
    elsewhere: int | None = None,
) -> Workers:
    """Settle what `--device` and `--jobs` mean, on this machine or where steps compute.

    Args:
        device: `auto`, `cpu` or `cuda`.
        jobs: Worker processes; None is the default.
        notice: Told where a GPU is there, and cannot be used.
        elsewhere: How many workers there are by default where steps do not compute on this machine: its cores
            say nothing then, and `cuda` is believed, as no GPU of theirs can be seen.

    Raises:
        UsageError: `cuda` was asked for, and torch can use no GPU.
    """
    from genbench.executors import cores

    if elsewhere is not None:
        return Workers("cuda" if device == "cuda" else "cpu", 0, elsewhere if jobs is None else jobs)
    gpus = 0 if device == "cpu" else torch_gpus()
    if gpus:
        return Workers("cuda", gpus, gpus if jobs is None else jobs)
    if device == "cuda":
        raise UsageError(
            f"--device cuda: {unusable()}", hint="genbench doctor   says more; --device cpu needs no GPU"
        )
    if device == "auto" and driver_gpus():
        notice(f"{unusable()}: running on the CPU (`genbench doctor`)")
    return Workers("cpu", 0, cores() if jobs is None else jobs)


def device_name(device: str) -> str:
    """Return `cpu`, or the name of the first GPU: what manifests call the device of a run."""
    if device == "cpu":
        return "cpu"
    try:
        driver, ordinal = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    except OSError:  # steps compute on other machines
        return device
    name = ctypes.create_string_buffer(256)
    found = driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(ordinal), 0)
    return "cuda" if found or driver.cuDeviceGetName(name, 256, ordinal) else name.value.decode()


def driver_gpus() -> int:
    """Return how many CUDA devices the driver sees; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def torch_gpus() -> int:
    """Return how many CUDA devices torch can use; it is imported only where the driver sees one."""
    if not driver_gpus():
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_memory_bytes() -> tuple[int, ...]:
    """Return the memory of each CUDA device, as the driver says; 0 of one that does not say."""
    found = []
    for ordinal in range(driver_gpus()):
        device, memory = ctypes.c_int(0), ctypes.c_size_t(0)
        driver = ctypes.CDLL("libcuda.so.1")
        failed = driver.cuDeviceGet(ctypes.byref(device), ordinal)
        failed = failed or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        found.append(0 if failed else memory.value)
    return tuple(found)


def gpu_memory_gib() -> float:
    """Return the memory of the largest CUDA device; 0 without one."""
    return max(gpu_memory_bytes(), default=0) / 2**30


def unusable() -> str:
    """Say in a few words why torch can use no GPU."""
    seen = driver_gpus()
    if not seen:
        return "no NVIDIA driver, or none that sees a GPU"
    import torch

    if torch.version.cuda is None:
        return f"the driver sees {seen} GPU(s), but torch {torch.__version__} is built for the CPU alone"
    return (
        f"the driver sees {seen} GPU(s), but torch {torch.__version__}, built for CUDA {torch.version.cuda}, "
        "cannot use them (nvidia-smi shows the driver's version)"
    )
