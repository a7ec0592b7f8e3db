"""What the forge reads: the CI service calls `.ci/run` and no more, hooks and forms are well formed."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_ci_service_calls_ci_run_on_every_python_that_is_promised() -> None:
    (job,) = read(".github/workflows/ci.yml")["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert oldest in job["strategy"]["matrix"]["python"]
    assert all(isinstance(version, str) for version in job["strategy"]["matrix"]["python"])  # 3.10 is no 3.1
    assert job["timeout-minutes"] <= 60
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_hooks_are_tools_of_the_test_extra_that_ci_runs_too() -> None:
    hooks = [hook for repository in read(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert {hook["language"] for hook in hooks} == {"system"}
    assert {hook["entry"] for hook in hooks} == {"ruff format", "ruff check", "mypy"}
    steps = (ROOT / ".ci" / "run").read_text()
    assert all(re.search(rf"^{hook['entry']}\b", steps, flags=re.MULTILINE) for hook in hooks)


@pytest.mark.parametrize("tool", ["ruff format --check .", "ruff check .", "lint-imports", "mypy", "pyright"])
def test_ci_runs_every_linter(tool: str) -> None:
    assert tool in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.parametrize("form", [path.name for path in FORMS if path.name != "config.yml"])
def test_forms_ask_for_something(form: str) -> None:
    page = read(f".github/ISSUE_TEMPLATE/{form}")
    assert page["name"]
    assert page["description"]
    fields = {field["id"]: field for field in page["body"]}
    assert len(fields) == len(page["body"])
    assert all(field["attributes"]["label"] for field in fields.values())
    assert any(field.get("validations", {}).get("required") for field in fields.values())


def test_there_is_a_form_for_bugs_plugins_and_results() -> None:
    assert {path.stem for path in FORMS} == {"bug", "config", "plugin", "result"}


@pytest.mark.parametrize("page", ["SECURITY.md", ".github/workflows/ci.yml"])
def test_contributing_names_it(page: str) -> None:
    assert page in (ROOT / "CONTRIBUTING.md").read_text()
