"""`genbench show`: its examples can be typed, whatever a component requires."""

import shlex

import pytest
from pydantic import Field

from genbench.cli.show_command import example
from genbench.hookspecs import KINDS, Kind
from genbench.notation import BARE, parse_reference
from genbench.protocols import DatasetConfig
from genbench.registry import Registry

REGISTRY = Registry()
COMPONENTS = [(kind, spec.name) for kind in KINDS for spec in REGISTRY.specs(kind)]


@pytest.mark.parametrize(("kind", "name"), COMPONENTS, ids=[" ".join(one) for one in COMPONENTS])
def test_an_example_has_all_that_is_required(kind: Kind, name: str) -> None:
    spec = next(one for one in REGISTRY.specs(kind) if one.name == name)
    schema = REGISTRY.schema(spec, kind)
    flag, text, *others = shlex.split(example(kind, name, schema))
    assert flag == f"--{kind}"
    assert others == [] if kind == "classifier" else others[-2:] == ["-c", "cnn"]
    options = dict(parse_reference(text).options)
    if BARE in options:
        assert schema.primary is not None
        options = {schema.primary: options.pop(BARE), **options}
    config = schema.model_validate(options)
    assert {option for option, entry in schema.model_fields.items() if entry.is_required()} <= options.keys()
    assert set(options) <= set(type(config).model_fields)


def test_the_examples_that_failed_are_right() -> None:
    named: dict[str, Kind] = {"imagefolder": "dataset", "hub": "dataset", "cull_list": "filter"}
    shown = {
        name: example(kind, name, REGISTRY.schema(REGISTRY.spec(kind, name), kind))
        for name, kind in named.items()
    }
    assert shown == {
        "imagefolder": "--dataset imagefolder:photos -c cnn",
        "hub": "--dataset hub:uoft-cs/cifar10 -c cnn",
        "cull_list": "--filter cull_list:rows.txt -g classical -c cnn",
    }


def test_an_option_without_an_example_is_named_in_capitals() -> None:
    class Config(DatasetConfig):
        where: str = Field(description="of whom")
        size: int = Field(default=3, description="of what")

    assert example("dataset", "mine", Config) == "--dataset mine:where=WHERE -c cnn"
