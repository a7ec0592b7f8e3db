"""Building the component of a step, and what its options hand over, from resolved identities."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from genbench.documents import Identity, TrainDocument, read_document
from genbench.hookspecs import Kind
from genbench.options import reference_options
from genbench.protocols import Classifier, ComponentConfig
from genbench.registry import import_target
from genbench.steps import networks
from genbench.steps.workshop import Job, Workshop
from genbench.store import Artifact
from genbench.training import NormalisedNetwork

if TYPE_CHECKING:
    from genbench.steps.dataset import Splits

Location = Mapping[str, Any]


def build_config(identity: Identity, kind: Kind, workshop: Workshop, location: Location) -> ComponentConfig:
    """Build a component's config from its resolved identity and its locations."""
    spec = workshop.registry.spec(kind, identity["use"])
    schema: type[ComponentConfig] = import_target(spec.config, spec.name)
    values = {name: _as_option(value) for name, value in identity["config"].items()}
    own = {name: value for name, value in location.items() if "/" not in name}
    return schema.model_validate({**values, **own})


def build(identity: Identity, kind: Kind, workshop: Workshop, location: Location | None = None) -> Any:
    """Build a component from its resolved identity."""
    spec = workshop.registry.spec(kind, identity["use"])
    return import_target(spec.target, spec.name)(build_config(identity, kind, workshop, location or {}))


def build_classifier(identity: Identity, workshop: Workshop, location: Location | None = None) -> Classifier:
    """Build a classifier; without the locations of its files it builds networks, and knows no weights."""
    return cast("Classifier", build(identity, "classifier", workshop, location))


def open_trained(trained: Artifact, splits: "Splits", workshop: Workshop) -> NormalisedNetwork:
    """Rebuild the network that a `train` step left: pixels in, logits out, evaluation mode."""
    return networks.open_network(trained_classifier(trained, workshop), splits, trained, workshop.device)


def trained_classifier(trained: Artifact, workshop: Workshop) -> Classifier:
    """Build the classifier that a `train` step trained."""
    document = read_document(trained.document)
    assert isinstance(document, TrainDocument)
    return build_classifier(document.component, workshop)


def open_references(job: Job[Any], kind: Kind, splits: "Splits") -> dict[str, Any]:
    """Open what the `ComponentRef` options of a step's component hand over, by path."""
    owner = _Owner(job.document.component, kind, job.step.location)
    return dict(_handed_over(owner, job.given.options, splits, job.workshop))


def _as_option(value: Any) -> Any:
    """Turn a resolved component among the options back into a reference."""
    if isinstance(value, Mapping) and value.keys() >= {"use", "version", "config"}:
        return {"use": value["use"], "options": value["config"]}
    return value


@dataclass(frozen=True)
class _Owner:
    """A component whose options name others."""

    identity: Identity
    kind: Kind
    location: Location
    path: str = ""


def _handed_over(
    owner: _Owner, options: Mapping[str, Artifact], splits: "Splits", workshop: Workshop
) -> Iterator[tuple[str, Any]]:
    """Yield (path, fitted generator or trained network) of an owner's options, and of theirs.

    A fit knows nothing of how its generator samples: those options are the ones that this step was given.
    """
    spec = workshop.registry.spec(owner.kind, owner.identity["use"])
    for option, mark in reference_options(import_target(spec.config, spec.name)):
        identity, path = owner.identity["config"].get(option), f"{owner.path}{option}"
        artifact = options.get(path)
        if mark.kind == "classifier" and artifact is not None:
            yield path, open_trained(artifact, splits, workshop)
        elif mark.kind == "generator" and mark.stage == "fit" and identity is not None:
            location = {
                name.removeprefix(f"{option}/"): value
                for name, value in owner.location.items()
                if name.startswith(f"{option}/")
            }
            generator = build(identity, "generator", workshop, location)
            if artifact is not None:
                generator.load(artifact.folder)
            yield path, generator
            inner = _Owner(identity, "generator", location, f"{path}/")
            yield from _handed_over(inner, options, splits, workshop)
