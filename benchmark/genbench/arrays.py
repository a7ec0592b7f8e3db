"""Arrays of published sets, from `.npy` and `.npz` files that may claim anything.

A header's claim is compared with the bytes that there are before an array is made. Arrays of objects, which
would be pickles, are refused.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError
from genbench.files import open_regular, said
from genbench.unpacking import most_growth_of, open_zip, stored_at, unpack_member, zip_member

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


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in a `.npz` file.

    Raises:
        DataError: It is no such file.
    """
    try:
        with open_regular(path) as file, open_zip(file) as packed:
            names = [info.filename for info in packed.infolist()]
    except Exception as problem:  # zipfile raises nearly every kind on broken files
        raise _refused(str(path), problem) from None
    return [name.removesuffix(".npy") for name in names if name.endswith(".npy")]


def map_array(path: Path, name: str, work: Path) -> tuple[npt.NDArray[Any], bool]:
    """Open an array of a `.npz` file without reading it: (the array, whether it is mapped where it lies).

    `np.savez` stores arrays as they are: they are mapped from inside the archive, and may be larger than
    memory. What `np.savez_compressed` packed is unpacked into a file in `work` first.

    Raises:
        DataError: There is none of that name, it holds no numbers, or claims more or less than it holds.
    """
    try:
        with open_regular(path) as file, open_zip(file) as packed:
            info = {one.filename: one for one in packed.infolist()}.get(f"{name}.npy")
            if info is None:
                raise DataError(f"it has no array {name!r}")
            if info.compress_type != zipfile.ZIP_STORED:
                place = work / f"{name}-{info.CRC:08x}.npy"
                unpack_member(packed, info, place, most_growth_of(file))
                return load_array(place), False
            start = stored_at(file, info)
            file.seek(start)
            header = _read_header(file)
            _check_claim(header, start + info.file_size - header.begin, file)
    except Exception as problem:  # numpy and zipfile raise nearly every kind on broken files
        raise _refused(str(path), problem) from None
    order: Literal["C", "F"] = "F" if header.is_fortran else "C"
    return np.memmap(path, header.dtype, "r", header.begin, header.shape, order), True


class NotNumericError(DataError):
    """An array holds texts or objects."""


class _Header(NamedTuple):
    """What an array's header says, and where its numbers begin."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]
    begin: int


def _read_header(file: IO[bytes]) -> _Header:
    """Read a header where the file stands."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise DataError(f"it has version {version} of the format; allowed: {', '.join(map(str, readers))}")
    shape, is_fortran, dtype = readers[version](file)
    if dtype.kind not in "uif":
        raise NotNumericError(
            f"it holds {dtype}, and only numbers are read",
            hint="save it as an array of numbers: array.astype(...), or numbers that stand for its texts",
        )
    return _Header(shape, is_fortran, dtype, file.tell())


def _check_claim(header: _Header, there: int, file: IO[bytes]) -> None:
    """Compare what a header claims with the bytes behind it, and with the file."""
    claimed = math.prod(header.shape) * header.dtype.itemsize
    left = file.seek(0, io.SEEK_END) - header.begin
    if min(header.shape, default=0) < 0 or claimed != there or there > left:
        raise DataError(
            f"it claims {header.dtype} {list(header.shape)}, {claimed:,} bytes, and holds "
            f"{min(there, left):,}"
        )


def _check_header(file: IO[bytes]) -> None:
    """Compare a header with what follows it; the file is as before."""
    header = _read_header(file)
    there = file.seek(0, io.SEEK_END) - header.begin
    _check_claim(header, there, file)
    file.seek(0)


def _refused(name: str, problem: Exception) -> DataError:
    reason = problem.message if isinstance(problem, DataError) else f"{problem} ({type(problem).__name__})"
    message = f"{name} cannot be read as an array: {said(reason)}"
    if isinstance(problem, NotNumericError):  # as its author made it: another copy holds the same
        return NotNumericError(message, hint=problem.hint)
    return DataError(message, hint="download it again")
