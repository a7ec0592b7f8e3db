"""`features` and `activation_mmd`: against closed forms, and what permuted units do to each."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from genbench.errors import DataError, UsageError
from genbench.plan import Plan
from genbench.protocols import Predictions, RunContext
from genbench.runner import RunSummary
from genbench.testing.suites import EvaluatorConformance
from genbench_evaluators.activation_mmd import ActivationMmd, squared_mmd
from genbench_evaluators.configs.activation_mmd import ActivationMmdConfig
from genbench_evaluators.configs.features import FeaturesConfig
from genbench_evaluators.features import Features, linear_cka, principal_components

RunCells = Callable[..., tuple[Plan, RunSummary]]
RNG = np.random.default_rng(0)


class TestFeatures(EvaluatorConformance):
    component = "features"


class TestActivationMmd(EvaluatorConformance):
    component = "activation_mmd"


def predicted(features: object, count: int = 60) -> Predictions:
    labels = np.arange(count, dtype=np.int64) % 3
    return Predictions(
        np.zeros((count, 3), np.float32), np.asarray(features, np.float32), labels, ("a", "b", "c")
    )


def test_cka_is_the_kernel_form_and_no_rotation_changes_it() -> None:
    x, y = RNG.normal(size=(50, 6)), RNG.normal(size=(50, 4))
    centring = np.eye(50) - 1 / 50
    k, m = centring @ x @ x.T @ centring, centring @ y @ y.T @ centring
    expected = (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())
    assert linear_cka(x, y) == pytest.approx(expected, abs=1e-12)
    rotation, _ = np.linalg.qr(RNG.normal(size=(6, 6)))
    assert linear_cka(x @ rotation * 3 + 1, y) == pytest.approx(expected, abs=1e-12)
    assert linear_cka(x, x @ rotation) == pytest.approx(1)
    assert linear_cka(x, np.ones((50, 2))) is None


def test_cka_says_where_it_is_biased(ctx: RunContext) -> None:
    """Independent features of 60 images in 300 dimensions are not 300 / 360 alike."""
    for dimensions, expected in ((300, 300 / 360), (6, 6 / 66)):
        sides = [predicted(RNG.normal(size=(60, dimensions))) for _ in range(2)]
        found = Features(FeaturesConfig()).evaluate({"test": sides[0]}, {"test": sides[1]}, ctx).metrics[0]
        assert found.name == "cka"
        assert found.value == pytest.approx(expected, abs=0.05)
        assert ("n = 60 images for D = 300 features: biased towards 1" in found.note) is (dimensions == 300)
        assert ("have about 0.83" in found.note) is (dimensions == 300)


def test_components_are_scikit_learns() -> None:
    x = RNG.normal(size=(80, 5)) * [5, 3, 1, 1, 1]
    ours, kept = principal_components(x)
    theirs = PCA(2).fit(x)
    assert np.allclose(np.abs(ours), np.abs(theirs.transform(x)), atol=1e-8)
    assert kept == pytest.approx(100 * theirs.explained_variance_ratio_.sum())
    flipped, _ = principal_components(x)
    assert np.array_equal(ours, flipped)


def test_a_permuted_network_is_the_same_to_cka_and_another_to_mmd(ctx: RunContext) -> None:
    """The fault of S4, shown: permuting units changes nothing that a network does."""
    x = RNG.normal(size=(60, 8)) * np.arange(1, 9) + np.arange(8)
    permuted = x[:, ::-1]
    own, baseline = {"test": predicted(permuted)}, {"test": predicted(x)}
    values = {one.label: one.value for one in Features(FeaturesConfig()).evaluate(own, baseline, ctx).metrics}
    assert values["cka[none]"] == pytest.approx(1)
    (mmd,) = ActivationMmd(ActivationMmdConfig()).evaluate(own, baseline, ctx).metrics
    assert mmd.value is not None
    assert mmd.value > 0.1
    assert "Not identifiable" in mmd.note


def test_squared_mmd_is_the_unbiased_estimator() -> None:
    x, y = RNG.normal(size=(40, 3)), RNG.normal(size=(50, 3)) + 0.5
    pairs = np.linalg.norm(y[:, None] - y[None], axis=2)[np.triu_indices(50, 1)]
    gamma = 1 / (2 * np.sort(pairs)[(len(pairs) - 1) // 2] ** 2)
    xx, yy, xy = rbf_kernel(x, gamma=gamma), rbf_kernel(y, gamma=gamma), rbf_kernel(x, y, gamma=gamma)
    expected = (xx.sum() - 40) / (40 * 39) + (yy.sum() - 50) / (50 * 49) - 2 * xy.mean()
    assert squared_mmd(x, y) == pytest.approx(expected, abs=1e-5)


def test_the_picture_has_a_panel_per_network_and_the_data_its_points(ctx: RunContext) -> None:
    x = RNG.normal(size=(60, 8))
    both = Features(FeaturesConfig(shown_images=30)).evaluate(
        {"test": predicted(x)}, {"test": predicted(x + 1)}, ctx
    )
    assert {name: len(points) for name, points in both.tables["points"].items()} == {
        "none": 30,
        "this row": 30,
    }
    wide = (ctx.files / "pca.png").stat().st_size
    alone = Features(FeaturesConfig()).evaluate({"test": predicted(x)}, None, ctx)
    assert {name: len(points) for name, points in alone.tables["points"].items()} == {"none": 60}
    assert (ctx.files / "pca.png").stat().st_size != wide


def test_features_that_are_not_finite_are_refused(ctx: RunContext) -> None:
    broken = RNG.normal(size=(60, 8))
    broken[3, 2] = np.nan
    with pytest.raises(DataError, match="features: features are NaN or infinite for 1 of 60 test images"):
        Features(FeaturesConfig()).evaluate({"test": predicted(broken)}, None, ctx)


def test_umap_is_asked_for_by_name(ctx: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UsageError, match="method=umap needs umap-learn"):
        Features(FeaturesConfig(method="umap")).evaluate(
            {"test": predicted(RNG.normal(size=(60, 8)))}, None, ctx
        )


def test_the_null_is_another_seed_of_the_baseline(run_cells: RunCells) -> None:
    plan, outcome = run_cells(
        generators=["toy"], evaluators=["accuracy", "features", "activation_mmd"], seeds=2
    )
    assert outcome.failed == {}
    rows = [(one.result.generator.use, one.result.index, {m.label: m.value for m in one.result.metrics})
            for one in outcome.records if one.result.evaluator.use == "features"]  # fmt: skip
    names = {(use, index): set(values) for use, index, values in rows}
    assert names["none", 0] == {"cka_floor[none]", "pca_variance_2d"}
    assert names["toy", 1] == {"cka[none]", "cka_floor[none]", "pca_variance_2d"}
    nulls = {index: values["cka_floor[none]"] for use, index, values in rows if use == "none"}
    assert nulls[0] == pytest.approx(nulls[1])  # two seeds are each other's twins
    assert nulls[0] < 0.9999
    twins = {plan.steps[step.inputs["twin"]].label for step in plan.steps.values() if "twin" in step.inputs}
    assert twins == {f"predict with toy-net on toy-data, seed {index}" for index in range(2)}
    _, single = run_cells(generators=["toy"], evaluators=["accuracy", "features"], seeds=1)
    assert single.failed == {}


def test_predictions_are_left_alone(ctx: RunContext) -> None:
    own = predicted(RNG.normal(size=(60, 8)))
    before = own.features.copy()
    Features(FeaturesConfig()).evaluate({"test": own}, {"test": replace(own)}, ctx)
    assert np.array_equal(own.features, before)
