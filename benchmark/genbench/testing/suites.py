"""The checks as pytest classes: subclass one, name your component, and run pytest."""

from pathlib import Path
from typing import ClassVar

import pytest

from genbench.hookspecs import Kind
from genbench.registry import PluginSource, Registry, plugin_files
from genbench.testing.checks import CHECKS, Check, make_subject


class _Conformance:
    """What the five classes share.

    Class attributes:
        component: `name` or `name:option=value,...`; options are those of `smoke` where they are not given.
        plugin_files: Single-file plugins to load.
        image_size: Height and width of the made-up images.
    """

    kind: ClassVar[Kind]
    component: ClassVar[str]
    plugin_files: ClassVar[tuple[str, ...]] = ()
    image_size: ClassVar[int] = 8

    def _run(self, check: Check, work: Path) -> None:
        registry = Registry(PluginSource(files=plugin_files(self.plugin_files)))
        check(make_subject(registry, self.kind, self.component, work, self.image_size))


class DatasetConformance(_Conformance):
    """Checks of a dataset."""

    kind = "dataset"

    @pytest.mark.parametrize("check", CHECKS["dataset"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)


class GeneratorConformance(_Conformance):
    """Checks of a generator."""

    kind = "generator"

    @pytest.mark.parametrize("check", CHECKS["generator"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)


class FilterConformance(_Conformance):
    """Checks of a filter."""

    kind = "filter"

    @pytest.mark.parametrize("check", CHECKS["filter"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)


class ClassifierConformance(_Conformance):
    """Checks of a classifier."""

    kind = "classifier"

    @pytest.mark.parametrize("check", CHECKS["classifier"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)


class EvaluatorConformance(_Conformance):
    """Checks of an evaluator."""

    kind = "evaluator"

    @pytest.mark.parametrize("check", CHECKS["evaluator"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)
