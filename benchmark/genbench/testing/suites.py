"""The checks as pytest classes: subclass one, name your component, and run pytest."""

from functools import cache
from pathlib import Path
from typing import ClassVar

import pytest

from genbench.hookspecs import Kind
from genbench.registry import PluginSource, Registry, plugin_files
from genbench.testing.asking import Check, needed_by
from genbench.testing.checks import CHECKS, checks_of
from genbench.testing.subject import make_subject


@cache
def _registry(files: tuple[str, ...]) -> Registry:
    """Return the registry that all checks share, and with it what was fitted for several of them."""
    return Registry(PluginSource(files=plugin_files(files)))


class _Conformance:
    """What the six classes share.

    Class attributes:
        component: `name` or `name:option=value,...`; options are those of `smoke` where they are not given.
        plugin_files: Single-file plugins to load.
        image_size: Height and width of the made-up images.
        dataset: A dataset whose images and classes take the place of made-up ones, as `digits`.
    """

    kind: ClassVar[Kind]
    component: ClassVar[str]
    plugin_files: ClassVar[tuple[str, ...]] = ()
    image_size: ClassVar[int] = 8
    dataset: ClassVar[str | None] = None
    _passed: ClassVar[dict[tuple[type, Check], bool]] = {}

    def reference(self, folder: Path) -> str:
        """Return the component; override it to write files that it needs into an empty folder first."""
        return self.component

    def _run(self, check: Check, work: Path) -> None:
        """Run one check, after those that it rests on: where one of them does not pass, it is skipped."""
        for needed in needed_by(check):
            if not self._passes(needed, work / needed.__name__):
                pytest.skip(f"asked once {needed.__name__} passes")
        self._ask(check, work)

    def _passes(self, check: Check, work: Path) -> bool:
        known = self._passed.get((type(self), check))
        if known is None:
            try:
                self._run(check, work)
            except (Exception, pytest.skip.Exception):  # that check has a test of its own, which says why
                self._passed[type(self), check] = known = False
            else:
                known = True
        return known

    def _ask(self, check: Check, work: Path) -> None:
        files, scratch = work / "files", work / "work"
        for folder in (files, scratch):
            folder.mkdir(parents=True, exist_ok=True)
        component = self.reference(files)
        subject = make_subject(
            _registry(self.plugin_files), self.kind, component, scratch, self.image_size, self.dataset
        )
        if check not in checks_of(subject):
            pytest.skip("not asked of this component")
        check(subject)
        self._passed[type(self), check] = True


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


class ExecutorConformance(_Conformance):
    """Checks of an executor."""

    kind = "executor"

    @pytest.mark.parametrize("check", CHECKS["executor"], ids=lambda check: check.__name__)
    def test_conforms(self, check: Check, tmp_path: Path) -> None:
        """Run one check."""
        self._run(check, tmp_path)
