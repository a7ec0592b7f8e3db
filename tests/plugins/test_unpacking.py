"""Archives, arrays, tables and weights that claim what is not so: refused by name, in bounded memory.

Many more are tried by `tests/faults/archives.py`.
"""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from genbench import hub
from genbench import unpacking as _unpacking
from genbench.arrays import load_array, load_arrays
from genbench.errors import DataError
from genbench.files import load_tensors
from genbench.parquet import ParquetRows
from genbench.protocols import RunContext
from genbench.unpacking import unpacked
from genbench_datasets._tables import read_parquet
from genbench_datasets.configs.digits import DigitsConfig
from genbench_datasets.digits import Digits
from genbench_generators._pipeline_files import find_pipeline


def tar_of(folder: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    file = folder / "it.tar.gz"
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return file


def test_honest_archives_are_read(tmp_path: Path) -> None:
    plain = tar_of(tmp_path, (tarfile.TarInfo("./a/1"), b"one"), (tarfile.TarInfo("a/.2"), b"hidden"))
    assert [(str(file.name), file.content) for file in unpacked(plain)] == [("a/1", b"one")]
    with zipfile.ZipFile(tmp_path / "it.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("a")
        archive.writestr("a/1", b"one" * 99)
    assert [file.content for file in unpacked(tmp_path / "it.zip")] == [b"one" * 99]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("a/1")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(DataError, match=r"it\.tar\.gz cannot be read: a/1 is no plain file"):
        list(unpacked(tar_of(tmp_path, (info, b""))))


@pytest.mark.parametrize("name", ["/a/1", "../1", "a/../../1", "a\\1", "C:/1", "a/\x1b[2J1"])
def test_names_that_lead_elsewhere_or_cannot_be_printed_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"the name '.*' (leads out of the archive|holds what cannot)") as one:
        list(unpacked(tar_of(tmp_path, (tarfile.TarInfo(name), b"x"))))
    assert "\x1b" not in str(one.value)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_unpacking, "SMALLEST_LIMIT_BYTES", 1 << 20)
    monkeypatch.setattr(_unpacking, "MOST_FILE_BYTES", 1 << 16)
    large = tarfile.TarInfo("a/1"), bytes(1 << 17)
    with pytest.raises(DataError, match="a/1 claims 131,072 bytes, and 65,536 are allowed"):
        list(unpacked(tar_of(tmp_path, large)))
    many = [(tarfile.TarInfo(f"a/{number}"), bytes(1 << 16)) for number in range(20)]
    with pytest.raises(DataError, match=r"it fills 1,\d+,\d+ bytes or more unpacked, and 1,048,576 are"):
        list(unpacked(tar_of(tmp_path, *many)))
    with zipfile.ZipFile(tmp_path / "it.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"a/{number}", bytes(1 << 16))
    with pytest.raises(DataError, match="it fills 1,310,720 bytes or more unpacked"):
        list(unpacked(tmp_path / "it.zip"))


def test_methods_passwords_and_names_that_come_twice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "it.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/1", b"one")
    with pytest.raises(DataError, match=r"a/1 is packed by method 14; allowed: stored \(0\), deflated \(8\)"):
        list(unpacked(file))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/1", b"one")
    content = bytearray(file.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="a/1 is encrypted"):
        list(unpacked(file))
    twice = tar_of(tmp_path, (tarfile.TarInfo("a/1"), b"x"), (tarfile.TarInfo("./a/1"), b"y"))
    with pytest.raises(DataError, match=r"the name '(\./)?a/1' comes twice"):
        list(unpacked(twice))


def test_a_header_that_breaks_inside_does_not_end_the_archive_in_silence(tmp_path: Path) -> None:
    whole = tar_of(tmp_path, *[(tarfile.TarInfo(f"a/{number}"), b"x") for number in range(3)])
    content = bytearray(gzip.decompress(whole.read_bytes()))
    content[1024 + 3] ^= 1
    whole.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DataError, match="a header is broken: bad checksum"):
        list(unpacked(whole))


# ------------------------------------------------------------------------------------------------- arrays


def npy(claim: str, content: bytes = bytes(64)) -> bytes:
    header = claim.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,)}"), "and holds 64"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-64,)}"), "and holds 64"),
        (npy("{'descr': '|u1', 'fortran_order': False, 'shape': (63,)}"), "63 bytes, and holds 64"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (8,)}"), "it holds object, and only numbers"),
        (npy("(" * 100), "cannot be read as an array"),
        (b"\x93NUMPY\x09\x00" + bytes(99), "cannot be read as an array"),
        (b"hello", "cannot be read as an array"),
    ],
)
def test_arrays_that_are_not_what_they_claim_are_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(DataError, match=message):
        load_arrays(tmp_path / "a.npz", "a")


def test_honest_arrays_are_read(tmp_path: Path) -> None:
    pixels, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.arange(2)
    np.save(tmp_path / "a.npy", pixels)
    assert np.array_equal(load_array(tmp_path / "a.npy"), pixels)
    np.savez_compressed(tmp_path / "a.npz", images=pixels, labels=labels)
    found = load_arrays(tmp_path / "a.npz", "images", "labels")
    assert [one.tolist() for one in found] == [pixels.tolist(), labels.tolist()]
    with pytest.raises(DataError, match=r"it has no array 'more'\. Found: images\.npy, labels\.npy"):
        load_arrays(tmp_path / "a.npz", "more")


def test_a_packed_table_of_digits_that_never_ends_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ctx: RunContext
) -> None:
    file = tmp_path / "digits.csv.gz"
    monkeypatch.setattr(DigitsConfig, "source_files", lambda self: {"digits.csv.gz": file})
    for content in (gzip.compress(b"0," * (10 << 20)), gzip.compress(b"1,2\n"), b"no gzip"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"digits\.csv\.gz (is not the table|cannot be read)"):
            Digits(DigitsConfig()).load(ctx)


# --------------------------------------------------------------------------------------- tables, the Hub


def test_tables_that_claim_too_much_are_refused(tmp_path: Path, ctx: RunContext) -> None:
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": pa.nulls(3_000_000, pa.int8())}), file)
    with pytest.raises(DataError, match=r"a\.parquet claims 3,000,000 rows; 1,\d+,\d+ are allowed"):
        ParquetRows([file], tmp_path)
    with pytest.raises(DataError, match=r"a\.parquet claims 3,000,000 rows"):
        read_parquet([file], ctx)
    cells = pa.array([bytes(1 << 20)] * 300, pa.binary())
    pq.write_table(pa.table({"a": cells}), file, compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"a\.parquet claims a column of 31\d,\d+,\d+ bytes; 268,435,456 are"):
        ParquetRows([file], tmp_path)


@pytest.mark.parametrize("note", [{"features": {"a": {"_type": "Nonsense"}}}, {"features": [3]}, 3])
def test_a_table_with_a_note_of_any_shape_is_refused(tmp_path: Path, note: object, ctx: RunContext) -> None:
    table = pa.table({"a": [1]}).replace_schema_metadata({"huggingface": json.dumps({"info": note})})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        ParquetRows([tmp_path / "a.parquet"], tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_parquet([tmp_path / "a.parquet"], ctx)


def test_damaged_pages_are_named(tmp_path: Path, ctx: RunContext) -> None:
    file = tmp_path / "a.parquet"
    features = datasets.Features({"a": datasets.Value("binary")})
    rows = np.random.default_rng(0).bytes(4000)
    datasets.Dataset.from_dict({"a": [rows]}, features=features).to_parquet(file)
    content = bytearray(file.read_bytes())
    content[4:40] = bytes(36)
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        ParquetRows([file], tmp_path).select(np.array([0]))
    with pytest.raises(DataError, match="its parquet files cannot be read"):
        read_parquet([file], ctx)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc", "me/../../x", "me/a/b", "", "me\\x", "file:/x", "a//b"]
)
def test_an_id_does_not_leave_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.json").write_text("{}")
    with pytest.raises(DataError, match="not a name on the Hub"):
        hub.find(name, ("*.json",))
    with pytest.raises(DataError, match="not a name on the Hub"):
        hub.find("me/x", ("../../secret/*.json",))


def test_a_mirror_may_be_made_of_links_into_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENBENCH_HUB_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "0f3").write_text("{}")
    (tmp_path / "mirror" / "me" / "x").mkdir(parents=True)
    (tmp_path / "mirror" / "me" / "x" / "a.json").symlink_to(tmp_path / "blobs" / "0f3")
    assert list(hub.find("me/x", ("*.json",))) == ["a.json"]


@pytest.mark.parametrize("content", [b"", b"\x80\x04.", b"\xff" * 8 + b"{}", (1 << 50).to_bytes(8, "little")])
def test_weights_that_are_no_safetensors_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"vgg: .*a\.safetensors cannot be read as safetensors"):
        load_tensors(tmp_path / "a.safetensors", "vgg")


@pytest.mark.parametrize("index", ["[" * 100_000, '{"_class_name": "P", "unet": 3}', "[]", "nothing"])
def test_a_pipeline_of_any_shape_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(DataError, match="is not a Stable Diffusion pipeline that can be used"):
        find_pipeline(str(tmp_path), ("P",))
