"""Titles in words: what people call a dataset, a classifier, a row and a group. Plain text, not yet escaped.

A built-in component has a name in words; one of a third party has its reference, as users typed it. Two rows
of a group never share a title: augmentation, ratio, options and at last the reference tell them apart. The
exact references stay what `Row.generator`, `Row.filter`, `Group.dataset` and `Group.classifier` say.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from genbench.recipe import Mix
from genbench.records import Component
from genbench_leaderboard.names import (
    AUGMENTATIONS,
    Name,
    bare,
    classifier_name,
    dataset_name,
    filter_name,
    generator_name,
    own,
)
from genbench_leaderboard.rows import BASELINE, Board, Group, Row


class RowTitle(NamedTuple):
    """The parts of a row's title: what stands in the cells of a table.

    Attributes:
        images: Where its images come from: `DDPM`, `CutMix`, `real images alone`.
        mix: How they form the training set: `1 synthetic image per real one`; empty for real images alone.
        augment: `standard`, `CutMix`, ...
    """

    images: str
    mix: str
    augment: str

    @property
    def whole(self) -> str:
        """All of it: `DDPM, 1 synthetic image per real one, standard augmentation`."""
        return ", ".join(part for part in (self.images, self.mix, with_augmentation(self.augment)) if part)


def group_title(group: Group) -> str:
    """Return the title of a group: `CIFAR-10, 5,000 training images, small CNN`."""
    images = training_images(group)
    parts = [dataset_of(group).title]
    parts += [f"{images:,} training images"] if images else []
    parts.append(classifier_of(group).title)
    parts += [f"{group.budget_scale:g} times the usual steps"] if group.budget_scale != 1 else []
    parts += ["equal epochs"] if group.budget != "steps" else []
    return ", ".join(parts)


def group_titles(board: Board) -> tuple[str, ...]:
    """Return the titles of a board's groups; what share one are told apart by options, suite or seeds."""
    groups = board.groups
    ways: list[Callable[[Group], str]] = [
        lambda group: _options(group.classifier, group.classifier_component),
        lambda group: _options(group.dataset, group.dataset_component),
        lambda group: f"preset {group.protocol.preset or 'unknown'}",
        lambda group: f"base seed {group.protocol.base_seed}",
        lambda group: f"suite {group.declared.suite}" if group.declared else "",
        lambda group: f"{group.declared.look} seeds" if group.declared else "",
        lambda group: f"({group.title})",
    ]
    return _told_apart(
        [group_title(group) for group in groups], [[way(one) for one in groups] for way in ways]
    )


def row_title(row: Row) -> RowTitle:
    """Return the title of a row, as far as it alone tells: rows of a group may share it (`row_titles`)."""
    return RowTitle(_images(row), _mix(row), augmentation(row))


def row_titles(group: Group) -> tuple[RowTitle, ...]:
    """Return the titles of a group's rows, in their order; no two are alike."""
    rows = group.rows
    found = [row_title(row) for row in rows]
    wholes = [one.whole for one in found]
    ways = [[_row_options(row) for row in rows], [f"({row.name})" for row in rows]]
    told = _told_apart(wholes, ways)
    return tuple(
        one._replace(images=one.images + after.removeprefix(whole))
        for one, whole, after in zip(found, wholes, told, strict=True)
    )


def short_titles(group: Group) -> Mapping[str, str]:
    """Return the shortest titles that tell the rows of a group apart, by `Row.name`, for sentences.

    `DDPM`; where it is there under several augmentations, `DDPM with strong augmentation`.
    """
    titles = row_titles(group)
    augments = [f"with {with_augmentation(one.augment)}" for one in titles]
    mixes = [f"with {one.mix}" if one.mix else "" for one in titles]
    return _shortest(group, titles, [augments, mixes], " ")


def cell_titles(group: Group) -> Mapping[str, str]:
    """Return the same for cells and headings of tables: `DDPM`, or `DDPM, strong`."""
    titles = row_titles(group)
    return _shortest(group, titles, [[one.augment for one in titles], [one.mix for one in titles]], ", ")


def _shortest(
    group: Group, titles: Sequence[RowTitle], ways: Sequence[Sequence[str]], between: str
) -> Mapping[str, str]:
    rows = group.rows
    heads = [
        with_augmentation(one.augment) if row.is_baseline and row.contrast else one.images
        for row, one in zip(rows, titles, strict=True)
    ]
    told = _told_apart(_told_apart(heads, ways, between), [[f"({row.name})" for row in rows]])
    return dict(zip((row.name for row in rows), told, strict=True))


def dataset_of(group: Group) -> Name:
    """Return what a group's dataset is called."""
    return dataset_name(group.dataset_component, group.dataset)


def classifier_of(group: Group) -> Name:
    """Return what a group's classifier is called."""
    return classifier_name(group.classifier_component, group.classifier)


def training_images(group: Group) -> int | None:
    """Return how many real training images there are; None where no record says."""
    known = [one.train for one in group.provenance.data] + [
        row.books.train for row in group.rows if row.books
    ]
    return known[0] if known and len(set(known)) == 1 else None


def augmentation(row: Row) -> str:
    """Return the augmentation of a row: `standard`, `CutMix`, and which version, where that is an old one."""
    mix = Mix.model_validate(row.mix_values)
    words = AUGMENTATIONS.get(mix.augment, mix.augment)
    return (
        words
        if mix.augment_version == mix.augmented().augment_version
        else (f"{words} (version {mix.augment_version})")
    )


def with_augmentation(words: str) -> str:
    """Write an augmentation so that it can stand alone: `standard augmentation`, `CutMix`."""
    return (
        words
        if words[:1].isupper() or words in {"shear and zoom", "no augmentation"}
        else (f"{words} augmentation")
    )


# ---------------------------------------------------------------------------------------------------- rows


def _images(row: Row) -> str:
    made = row.generator_component
    if made.use == "folder":
        return own(row.generator, "own images", "").title + _filtered(row)
    return generator_name(made, row.generator) + _filtered(row)


def _filtered(row: Row) -> str:
    return "" if row.filter == BASELINE else f" {filter_name(row.filter_component, row.filter)}"


def _mix(row: Row) -> str:
    mix = Mix.model_validate(row.mix_values)
    if not mix.ratio:
        return ""
    images = "1 synthetic image" if mix.ratio == 1 else f"{mix.ratio:g} synthetic images"
    if mix.mode == "replace":
        return f"{100 * mix.ratio:.3g} % of the real images replaced"
    if mix.mode == "synthetic-only":
        return f"synthetic images alone, {mix.ratio:g} per real one"
    share = f", {100 * mix.batch_fraction:.3g} % of every batch" if mix.batch_fraction else ""
    return f"{images} per real one{share}"


def _row_options(row: Row) -> str:
    made = _options(row.generator, row.generator_component)
    kept = "" if row.filter == BASELINE else _options(row.filter, row.filter_component)
    found = ", ".join(part for part in (made, kept) if part)
    return f"({found})" if found else ""


def _options(reference: str, component: Component) -> str:
    """Return what a reference says beyond the component's name, in words: `timesteps 100, v2`."""
    rest = reference.removeprefix(component.use).strip(": ")
    return bare(rest.replace(",", ", ").replace("=", " "))


def _told_apart(titles: Sequence[str], ways: Sequence[Sequence[str]], between: str = "") -> tuple[str, ...]:
    """Add to titles that are shared what tells them apart, one way after the other, where it does.

    Args:
        titles: Of which some may be alike.
        ways: What could be added, a text for each title.
        between: What stands before an addition; by default a space before a bracket, else a comma.
    """
    found = list(titles)
    for marks in ways:
        times = Counter(found)
        kinds: dict[str, set[str]] = {}
        for title, mark in zip(found, marks, strict=True):
            kinds.setdefault(title, set()).add(mark)
        found = [
            title + (between or (" " if mark.startswith("(") else ", ")) + mark
            if mark and times[title] > 1 and len(kinds[title]) > 1
            else title
            for title, mark in zip(found, marks, strict=True)
        ]
    return tuple(found)
