"""Is there a GPU? Asked of the driver, without importing torch."""

import ctypes


def gpu_count() -> int:
    """Return how many CUDA devices the driver sees; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def choose_device(wanted: str) -> str:
    """Return `cuda` where `auto` finds a GPU, else what was asked for."""
    if wanted != "auto":
        return wanted
    return "cuda" if gpu_count() else "cpu"
