"""Plugins on their way to another machine: by digest, and what is installed there is compared."""

from dataclasses import replace
from pathlib import Path

import pytest

from genbench import parcels
from genbench.errors import PluginError
from genbench.parcels import Installed, Parcel
from genbench.registry import PluginSource, Registry

PLUGIN = """
import genbench
@genbench.hookimpl
def genbench_generators():
    return [genbench.ComponentSpec(name="carried-gen", target="a:B", config="a:C", summary="s")]
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "carried_plugin.py"
    path.write_text(PLUGIN)
    return path


def test_a_plugin_file_is_used_where_it_is_and_unpacked_where_it_is_not(file: Path, tmp_path: Path) -> None:
    parcel = Parcel.of(Registry(PluginSource(files=(str(file),), third_party=False)))
    assert parcel.opened() == (parcel.source, {})
    assert not (tmp_path / "cache").exists()
    file.write_text(PLUGIN + "# another one by now\n")  # while the run goes on; or of another machine
    opened = parcel.opened()
    (unpacked,) = opened.source.files
    assert opened.moved == {str(file): unpacked}
    assert Path(unpacked).read_text() == PLUGIN
    Path(unpacked).write_text("somebody wrote into the cache")
    assert parcel.opened() == opened
    assert Path(unpacked).read_text() == PLUGIN
    assert Path(unpacked).parent.name == parcel.files[0].sha256


def test_what_is_installed_elsewhere_is_compared_and_every_difference_is_said(file: Path) -> None:
    parcel = Parcel.of(Registry(PluginSource(third_party=False)))
    own = {one.package for one in parcel.installed}
    assert {"genbench", "genbench_generators"} <= own
    elsewhere = replace(parcel, home=("node1", "/usr"))
    assert elsewhere.opened().source == parcel.source  # the same code
    first, *others = parcel.installed
    wrong = (
        first._replace(version="0.0.9"),
        *(one._replace(sha256="0") for one in others[:1]),
        Installed("genbench-nowhere", "2.1", "genbench_nowhere", "0"),
    )
    with pytest.raises(PluginError, match="has other code than node1, where the run was started") as raised:
        replace(elsewhere, installed=wrong).opened()
    for words in (
        f"genbench is {first.version}, not 0.0.9",
        f"has other files in {others[0].package}",
        "genbench-nowhere 2.1 is not installed",
    ):
        assert words in str(raised.value)
    assert replace(parcel, installed=wrong).opened()  # at home nothing can differ
    assert parcels._home() == parcel.home
