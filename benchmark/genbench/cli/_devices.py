"""Is there a GPU, and how large? Asked of the driver, without importing torch."""

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


def gpu_memory_gib() -> float:
    """Return the memory of the largest CUDA device; 0 without one."""
    largest = 0
    for ordinal in range(gpu_count()):
        device, memory = ctypes.c_int(0), ctypes.c_size_t(0)
        driver = ctypes.CDLL("libcuda.so.1")
        found = driver.cuDeviceGet(ctypes.byref(device), ordinal)
        if found == 0 and driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device) == 0:
            largest = max(largest, memory.value)
    return largest / 2**30


def choose_device(wanted: str) -> str:
    """Return `cuda` where `auto` finds a GPU, else what was asked for."""
    if wanted != "auto":
        return wanted
    return "cuda" if gpu_count() else "cpu"
