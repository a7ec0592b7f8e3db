"""`features`: the penultimate features of a network beside its baseline's, in one common basis.

The picture projects the features of test images on the first two principal components of both networks'
features together, so that the axes of the two panels are the same (S4 fitted one basis per network, and
compared what could not be compared); `method=umap` draws UMAP (arXiv:1802.03426) of both instead, where
umap-learn is installed. The coordinates are in the record's tables.

What two networks see is not the same in the same coordinates: units may be permuted. The number to compare is
the linear CKA (Kornblith et al., arXiv:1905.00414, Eq. 4), which no rotation changes,

    CKA(X, Y) = |Y^T X|_F^2 / (|X^T X|_F |Y^T Y|_F)    of centred features,

and beside it that of the baseline with the baseline of another seed: what chance alone leaves alike. It is
biased towards 1 where there are not many more images than features: independent ones, isotropic and of n
images in D dimensions, have about D / (D + n), and where that is half or more a note says so.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from genbench.errors import DataError, UsageError
from genbench.metrics import Metric, Role
from genbench.protocols import Evaluation, PredictionEvaluator, Predictions, RunContext
from genbench_evaluators.configs.features import FeaturesConfig

Floats = npt.NDArray[np.float64]
_TOLERANCE = 1e-9  # against the kernel form, and scikit-learn's PCA
_MARKERS = "os^vD<>p*P"


class Features(PredictionEvaluator):
    """Reads stored features of test."""

    def __init__(self, config: FeaturesConfig) -> None:
        self.config = config

    def evaluate(
        self,
        predictions: Mapping[str, Predictions],
        baseline: Mapping[str, Predictions] | None,
        ctx: RunContext,
    ) -> Evaluation:
        """Return CKA with the baseline and the null beside it, and draw both networks' features.

        Raises:
            DataError: Features are NaN or infinite.
            UsageError: UMAP is wanted and not installed.
        """
        own = finite_features("features", predictions["test"])
        other = own if baseline is None else finite_features("features", baseline["test"])
        twin = ctx.inputs.get("twin")
        metrics = [] if baseline is None else [_cka("score", own, other, "")]
        if twin is not None:
            seeds = finite_features("features", twin["test"])
            metrics.append(_cka("floor", other, seeds, "Of two seeds of none."))
        rows = np.linspace(0, len(own) - 1, min(len(own), self.config.shown_images)).round().astype(np.int64)
        shown = [side[rows] for side in ([own] if baseline is None else [other, own])]
        coordinates, kept = self._projected(shown, ctx)
        note = "Share of the shown features' variance that two components hold."
        metrics.append(Metric("pca_variance_2d", kept, "%", None, (0, 100), _TOLERANCE, note, split="test"))
        labels, names = predictions["test"].labels[rows], predictions["test"].class_names
        titles = ["none", "this row"] if baseline is not None else ["none"]
        panels = dict(zip(titles, np.split(coordinates, len(shown)), strict=True))
        if ctx.pictures:
            _draw(panels, labels, names, ctx.files / f"{self.config.method}.png")
        points = {title: np.round(panel, 4).tolist() for title, panel in panels.items()}
        return Evaluation(metrics, {"points": points, "labels": labels.tolist(), "class_names": list(names)})

    def _projected(self, sides: list[Floats], ctx: RunContext) -> tuple[Floats, float]:
        """Project the features of all sides together: `float64 [sides x n, 2]`; and what PCA keeps, in %."""
        together = np.concatenate(sides)
        coordinates, kept = principal_components(together)
        if self.config.method == "pca":
            return coordinates, kept
        try:
            import umap  # type: ignore[import-not-found]
        except ImportError as problem:
            raise UsageError(
                "features: method=umap needs umap-learn", hint="pip install 'genbench[umap]'"
            ) from problem
        seed = ctx.seed("umap") % 2**31
        return np.asarray(umap.UMAP(random_state=seed, n_jobs=1).fit_transform(together), dtype=float), kept


def finite_features(who: str, predictions: Predictions) -> Floats:
    """Return the features in float64: `[n, D]`."""
    features = predictions.features.astype(np.float64)
    if not features.shape[1]:
        raise DataError(
            f"{who} reads penultimate features, and predictions of a model of others have none",
            hint="leave it out, or give the model itself: weights=FILE (genbench docs classifiers)",
        )
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise DataError(f"{who}: features are NaN or infinite for {bad} of {len(features)} test images")
    return features


def linear_cka(x: Floats, y: Floats) -> float | None:
    """Return the linear CKA of features of the same images, `float64 [n, D]` each; None without spread."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    own = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return float(np.linalg.norm(y.T @ x) ** 2 / own) if own > 0 else None


def principal_components(features: Floats) -> tuple[Floats, float]:
    """Return the first two principal coordinates `float64 [n, 2]`, and their share of the variance in %.

    The sign of a component is the one that makes its largest loading positive.
    """
    centred = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    if axes.shape[1] < 2:
        axes = np.hstack([axes, np.zeros_like(axes)])
    total = float(values.sum())
    kept = 100 * float(values[::-1][:2].sum()) / total if total > 0 else 100.0
    return centred @ axes, min(max(kept, 0.0), 100.0)


def _cka(role: Role, x: Floats, y: Floats, note: str) -> Metric:
    value = linear_cka(x, y)
    note = " ".join(filter(None, (note, _too_few(len(x), min(x.shape[1], y.shape[1])))))
    note = note if value is not None else "The features of one network are all the same."
    value = None if value is None else min(value, 1.0)
    return Metric(
        "cka", value, "", None, (0, 1), _TOLERANCE, note, split="test", against="none", n=len(x), role=role
    )


def _too_few(n: int, dimensions: int) -> str:
    """Return what to say where n images are no more than the features of either network."""
    if n > dimensions:
        return ""
    return (
        f"n = {n} images for D = {dimensions} features: biased towards 1; independent isotropic features of "
        f"this size have about {dimensions / (dimensions + n):.2f}."
    )


def _draw(
    panels: Mapping[str, Floats], labels: npt.NDArray[np.int64], names: tuple[str, ...], path: Path
) -> None:
    """Draw the panels side by side, on the same axes: a marker and a grey per class."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(panels) + 1.2, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    colours = _colours(len(names))
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        for label, name in enumerate(names):
            here = points[labels == label]
            marker = _MARKERS[label % len(_MARKERS)]
            axis.scatter(*here.T, s=12, color=colours[label], marker=marker, label=name, linewidths=0)
        axis.set_title(title)
        axis.set_xlabel("component 1")
    axes[0].set_ylabel("component 2")
    if len(names) <= len(_MARKERS) * 2:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    figure.savefig(path, dpi=110)


def _colours(count: int) -> list[Any]:
    """Return one colour per class whose brightness differs, too: it is read in black and white."""
    from matplotlib import colormaps

    return [colormaps["viridis"](position) for position in np.linspace(0, 0.95, count)]
