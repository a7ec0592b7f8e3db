"""Arrays of published shifts, from `.npy` and `.npz` files that may claim anything.

A header's claim is compared with the bytes that there are before an array is made. Arrays of objects, which
would be pickles, are refused.
"""

import io
import math
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.files import open_regular, said
from genbench.unpacking import open_zip, zip_member

_MOST_BYTES = 1 << 30  # of one array in an archive, which is held in memory: CIFAR-10.2 has 31 MB


def load_array(path: Path) -> npt.NDArray[Any]:
    """Open a `.npy` file, mapped into memory.

    Raises:
        DataError: It is no array of numbers, or claims more or less than it holds.
    """
    try:
        with open_regular(path) as file:
            _check_header(file)
        found: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as problem:  # numpy raises nearly every kind on broken headers
        raise _refused(str(path), problem) from None
    return found


def load_arrays(path: Path, *names: str) -> list[npt.NDArray[Any]]:
    """Read arrays of a `.npz` file by name.

    Raises:
        DataError: One is missing, is no array of numbers, or claims more or less than it holds.
    """
    found = list[npt.NDArray[Any]]()
    try:
        with open_regular(path) as file, open_zip(file) as packed:
            members = {info.filename: info for info in packed.infolist()}
            for name in names:
                if f"{name}.npy" not in members:
                    raise DataError(f"it has no array {name!r}. Found: {', '.join(sorted(members)[:20])}")
                content = io.BytesIO(zip_member(packed, members[f"{name}.npy"], _MOST_BYTES))
                _check_header(content)
                found.append(np.lib.format.read_array(content, allow_pickle=False))
    except Exception as problem:  # as above, and zipfile
        raise _refused(str(path), problem) from None
    return found


def _check_header(file: IO[bytes]) -> None:
    """Compare a header with what follows it; the file is as before."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"it has version {version} of the format; allowed: {', '.join(map(str, readers))}")
    shape, _, dtype = readers[version](file)
    if dtype.kind not in "uif":
        raise DataError(f"it holds {dtype}, and only numbers are read")
    begin = file.tell()
    there = file.seek(0, io.SEEK_END) - begin
    file.seek(0)
    claimed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or claimed != there:
        raise DataError(f"it claims {dtype} {list(shape)}, {claimed:,} bytes, and holds {there:,}")


def _refused(name: str, problem: Exception) -> DataError:
    reason = problem.message if isinstance(problem, DataError) else f"{problem} ({type(problem).__name__})"
    return DataError(f"{name} cannot be read as an array: {said(reason)}", hint="download it again")
