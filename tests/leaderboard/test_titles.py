"""What rows and groups are called: words, no two alike, and what we do not know by its reference."""

from dataclasses import replace
from typing import Any

import pytest

from genbench.digest import digest
from genbench.records import Component, Record
from genbench_leaderboard.board import build_board
from genbench_leaderboard.names import classifier_name, dataset_name, filter_name, generator_name
from genbench_leaderboard.rows import Group
from genbench_leaderboard.titles import group_title, group_titles, row_title, row_titles, short_titles
from made_records import BASE, SAME, arm, declared


def inner(use: str, **config: Any) -> dict[str, Any]:
    return {"use": use, "version": 1, "config": config}


@pytest.mark.parametrize(
    ("use", "config", "label", "title"),
    [
        ("ddpm", {}, "ddpm:timesteps=100", "DDPM"),
        ("style_transfer", {"method": "adain"}, "style_transfer", "style transfer (AdaIN)"),
        ("union", {"first": inner("copies"), "second": inner("ddpm"), "third": inner("none")}, "union",
         "copied training images and DDPM"),
        ("chain", {"first": inner("ddpm"), "second": inner("style_transfer", method="gatys")}, "chain",
         "style transfer (Gatys) of DDPM"),
        ("diffusemix", {"editor": inner("sdedit", base=inner("ddpm"))}, "diffusemix", "DiffuseMix by SDEdit"),
        ("pcagauss", {"rank": 3}, "pcagauss:rank=3", "pcagauss:rank=3"),
        ("union", {"first": "?", "second": 3}, "union", "union"),
    ],
)  # fmt: skip
def test_generators_have_names(use: str, config: dict[str, Any], label: str, title: str) -> None:
    assert generator_name(Component(use, config=config, label=label)) == title


def test_datasets_classifiers_and_filters_have_names() -> None:
    assert dataset_name(Component("cifar10"), "cifar10").phrase == "CIFAR-10 images"
    assert dataset_name(Component("blobs"), "blobs:k=3").phrase == "images of blobs:k=3"
    assert (
        dataset_name(Component("imagefolder"), "imagefolder:path=photos,size=32").title
        == "own images (photos)"
    )
    assert dataset_name(Component("hub", config={"path": "ORG/NAME"}), "hub").phrase == "images of ORG/NAME"
    assert (
        classifier_name(Component("resnet32", config={"depth": 20}), "resnet32:depth=20").title == "ResNet-20"
    )
    assert classifier_name(Component("cnn", config={"architecture": "s4"}), "cnn").phrase == (
        "the small CNN of kyritzb's study"
    )
    assert classifier_name(Component("mine"), "mine").phrase == "the classifier mine"
    assert filter_name(Component("near_duplicates")) == "without near duplicates"
    assert filter_name(Component("mine", label="mine:k=1")) == "filtered by mine:k=1"
    assert len(generator_name(Component("x", label="x" * 5_000))) < 100, "a title is no page"


def group_of(records: list[Record]) -> Group:
    (group,) = build_board(records).groups
    return group


def ddpm(schedule: str, version: int = 1) -> Component:
    return Component("ddpm", version, {"schedule": schedule}, f"ddpm:schedule={schedule}")


def test_rows_of_a_group_never_share_a_title() -> None:
    contender = declared("contender")
    twice = Component("ddpm", 2, {"schedule": "a"}, "ddpm:schedule=a")
    records = arm("none", BASE, declared("baseline"))
    for made, augment in ((ddpm("a"), "standard"), (twice, "standard"), (ddpm("b"), "standard"),
                          (ddpm("b"), "strong")):  # fmt: skip
        records += arm(made, SAME, contender, augment=augment)
    group = group_of(records)
    assert {row_title(row).whole for row in group.rows if row.generator != "none"} == {
        "DDPM, 1 synthetic image per real one, standard augmentation",
        "DDPM, 1 synthetic image per real one, strong augmentation",
    }
    assert {title.images for title in row_titles(group)} == {
        "real images alone",
        "DDPM",  # the only one with strong augmentation
        "DDPM (schedule b)",
        "DDPM (schedule a v1)",
        "DDPM (schedule a v2)",
    }
    short = short_titles(group)
    assert len(set(short.values())) == len(group.rows)
    assert short["none, standard"] == "real images alone"


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        ({"ratio": 0.5}, "0.5 synthetic images per real one"),
        ({"ratio": 0.25, "mode": "replace"}, "25 % of the real images replaced"),
        ({"ratio": 2.0, "mode": "synthetic-only"}, "synthetic images alone, 2 per real one"),
        ({"ratio": 1.0, "batch_fraction": 0.3}, "1 synthetic image per real one, 30 % of every batch"),
        ({"augment": "cutmix"}, "1 synthetic image per real one"),
    ],
)
def test_a_mix_is_words(mix: dict[str, Any], words: str) -> None:
    row = group_of(arm("none", BASE) + arm("ddpm", SAME)).rows[1]
    title = row_title(replace(row, mix_values={**row.mix_values, **mix}))
    assert title.mix == words
    assert title.whole.endswith(", CutMix" if "augment" in mix else ", standard augmentation")


def test_groups_are_told_apart_by_what_differs() -> None:
    def with_epochs(epochs: int) -> list[Record]:
        classifier = Component("cnn", config={"epochs": epochs}, label=f"cnn:epochs={epochs}")
        return [
            replace(
                one, result=replace(one.result, classifier=classifier, key=digest([epochs, one.result.key]))
            )
            for one in arm("none", BASE)
        ]

    board = build_board([*with_epochs(5), *with_epochs(9)])
    assert {group_title(group) for group in board.groups} == {"Handwritten digits, small CNN"}
    assert group_titles(board) == (
        "Handwritten digits, small CNN, epochs 5",
        "Handwritten digits, small CNN, epochs 9",
    )
