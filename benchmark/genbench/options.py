"""What all options have in common: frozen, typed, described; and how an option names another component."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Options(BaseModel):
    """Frozen options: unknown names are errors, every field has a description and bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


@dataclass(frozen=True)
class AddedLater:
    """Marks an option that came when results had been published: `Annotated[int | None, ADDED_LATER]`."""


ADDED_LATER = AddedLater()


class GrownOptions(Options):
    """Options that may have got new fields after results had been published under their other fields.

    A field that is marked as `ADDED_LATER` is written only where it is set: at its default, the options mean
    what they meant before it was there, and what is digested of them must not change, or every published
    result would be another one.
    """

    _added: ClassVar[Mapping[str, Any]] = {}  # the marked fields, with their defaults

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Look up the marks once."""
        cls._added = {
            name: entry.get_default(call_default_factory=True, validated_data={})
            for name, entry in cls.model_fields.items()
            if any(isinstance(mark, AddedLater) for mark in entry.metadata)
        }

    @model_serializer(mode="wrap")
    def _without_unset_additions(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        for name, default in self._added.items():
            if getattr(self, name) == default:
                written.pop(name, None)
        return written


class ComponentConfig(GrownOptions):
    """The options of one component.

    Class attributes:
        presets: Option values by preset name. Every component answers to `smoke` (seconds), `quick` (minutes
            on two CPU cores) and `paper` (what one would publish, on a GPU); a preset it does not list means
            the defaults. `source-...` presets are a source paper's exact settings.
        primary: The option that takes the bare value of `name:VALUE` on the command line.
        location_fields: Options that say where something lies (paths): never part of an identity; what lies
            there is, through `source_files`.
        remark_fields: Options that are published and change no result: never part of an identity either.
        costless_fields: Options that change what comes out and not how long it takes: `genbench plan`
            estimates from earlier steps that differ in these.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    primary: ClassVar[str | None] = None
    location_fields: ClassVar[frozenset[str]] = frozenset()
    remark_fields: ClassVar[frozenset[str]] = frozenset()
    costless_fields: ClassVar[frozenset[str]] = frozenset()

    def source_files(self) -> Mapping[str, Path]:
        """Return the files that this component reads, by names that do not depend on where they lie.

        Called before planning, without torch; the files' contents are hashed into every key.

        Raises:
            DataError: They cannot be had; the message says what was tried and what to type.
        """
        return {}

    def check_files(self, image_problem: Callable[[Path], str]) -> None:
        """Look at the files once more before anything is planned; called after `source_files`.

        Args:
            image_problem: Says what is wrong with an image file, or nothing; what it found is remembered
                until the file changes.

        Raises:
            DataError: Files cannot be used; one message names all of them.
        """

    def remarks(self, image_problem: Callable[[Path], str]) -> Sequence[str]:
        """Say in sentences what the options mean for the files that there are; called after `check_files`.

        `genbench plan` and `genbench run` print them.
        """
        return ()

    def external_data(self, declared: tuple[str, ...]) -> tuple[str, ...]:
        """Return the part of the spec's `external_data` that these options use (default: all of it)."""
        return declared

    def check_machine(self) -> None:
        """Refuse what these options need and this machine lacks: a key, a service, a licence.

        Called before anything runs, where plans are made: quickly, without torch and without the network.

        Raises:
            GenbenchError: Something is missing; the message says what to do.
        """

    def check_images(self, image_shape: tuple[int, int, int]) -> None:
        """Refuse images that cannot be used with these options, as soon as their shape is known.

        Called where plans are made, without torch.

        Args:
            image_shape: Channels, height and width in pixels.

        Raises:
            GenbenchError: They are too small, or of a shape that does not fit; the message says which do.
        """

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse options that name classes which the dataset does not have, as soon as its are known.

        Called where plans are made, without torch.

        Args:
            class_names: The dataset's classes, in the order of labels.

        Raises:
            GenbenchError: There is no such class; the message says which there are.
        """


class ComponentRef(Options):
    """An option whose value is another component (an editor, a base model): it becomes an input step."""

    use: str = Field(description="name of the component")
    options: Mapping[str, Any] = Field(default_factory=dict, description="its options")

    _base: Path | None = PrivateAttr(default=None)

    @property
    def base(self) -> Path | None:
        """The folder in which relative paths among the options begin; None for the current one."""
        return self._base

    def beginning_in(self, base: Path) -> "ComponentRef":
        """Return the same with relative paths that begin in another folder."""
        copy = self.model_copy()
        copy._base = base
        return copy

    @model_validator(mode="before")
    @classmethod
    def _from_table(cls, value: Any) -> Any:
        """Accept `"ddpm"` and `{use = "ddpm", schedule = "cosine"}` besides the full form."""
        if isinstance(value, str):
            return {"use": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"use": value.get("use"), "options": {k: v for k, v in value.items() if k != "use"}}
        return value


@dataclass(frozen=True)
class InputStep:
    """Marks a `ComponentRef` option: what of that component is handed over (see `genbench.protocols`)."""

    kind: Literal["generator", "classifier"]
    stage: Literal["fit", "sample", "train"]


def reference_options(schema: type[ComponentConfig]) -> Iterator[tuple[str, InputStep]]:
    """Yield the options whose value is another component, and what of it is handed over."""
    for name, entry in schema.model_fields.items():
        for mark in entry.metadata:
            if isinstance(mark, InputStep):
                yield name, mark


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return options over others; of nested ones, entry by entry."""
    found = dict(base)
    for name, value in over.items():
        below = found.get(name)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        found[name] = merged(cast("Mapping[str, Any]", below), value) if both else value
    return found
