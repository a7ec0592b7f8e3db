"""`adversarial`: accuracy on a fixed subset of test under gradient attacks.

FGSM (arXiv:1412.6572, Sec. 4): one step of epsilon along the sign of the gradient. PGD (arXiv:1706.06083, Eq.
2): small steps along the gradient (its sign for L-inf, its direction for L2), projected back after each, from
the image itself and not from a random place near it, so that the same images fall each time. A step is
`step_fraction` of epsilon and at least 1/steps of it: any number of steps reaches the edge of the ball.
Attacks see the whole network, pixels as real numbers in 0-1, and the true label.

Departure from both papers: the loss is the margin, the largest logit of another class less that of the
true one (Carlini and Wagner, arXiv:1608.04644, Sec. V-A, f6, untargeted and without its bound), and not the
cross-entropy, whose gradient is rounded to 0 where a network is confident: multiplying all logits by 100
changes no decision and made the same network look 33 points more robust. The direction of the margin's
gradient does not depend on such a factor. (The ratio of logits of Croce and Hein, arXiv:2003.01690, Eq.
6, does so, too, and needs three classes.)

A lower bound on nothing: stronger attacks exist (AutoAttack), and a network can hide its gradients. Therefore
the check beside it: PGD must not leave more images right than FGSM of the same epsilon, nor a double epsilon
more than a single one; violations by more than one image are counted, and any says that the numbers do not
hold. And the images without a gradient are counted: no such attack can move them.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import nn

from genbench.images import LabelledImages, stratified_choice, stratified_counts
from genbench.metrics import Metric
from genbench.protocols import Evaluation, ModelEvaluator, RunContext
from genbench_evaluators.configs.adversarial import AdversarialConfig

_BATCH_IMAGES = 128
_FLAT = 1e-6  # of the margin: what changing every pixel from 0 to 1 would move it by, to first order
_SLACK_IMAGES = 1  # an image on the boundary may fall to the weaker attack alone
Norm = Literal["linf", "l2"]
Attack = Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor, torch.Tensor], torch.Tensor]


class Adversarial(ModelEvaluator):
    """Attacks the network."""

    def __init__(self, config: AdversarialConfig) -> None:
        self.config = config

    def evaluate(
        self, network: nn.Module, splits: Mapping[str, LabelledImages], ctx: RunContext
    ) -> Evaluation:
        """Return the accuracies without and under each attack, and two checks of what they are worth."""
        config, test = self.config, splits["test"]
        counts = stratified_counts(test.class_counts(), min(config.images, len(test)))
        rows, _ = stratified_choice(test.labels, counts, "adversarial", "subset")
        logits_of = differentiable(network)
        linf, l2 = config.epsilon_linf_255 / 255, config.epsilon_l2
        along = partial(pgd, steps=config.steps, step_fraction=max(config.step_fraction, 1 / config.steps))
        attacks: dict[str, Attack] = {
            "clean": lambda logits_of, x, labels: x,
            "fgsm_linf": partial(fgsm, epsilon=linf),
            "pgd_linf": partial(along, epsilon=linf, norm="linf"),
            "pgd_linf_double": partial(along, epsilon=2 * linf, norm="linf"),
            "pgd_l2": partial(along, epsilon=l2, norm="l2"),
            "pgd_l2_double": partial(along, epsilon=2 * l2, norm="l2"),
        }
        right = {}
        for position, (name, attack) in enumerate(attacks.items()):
            right[name] = self._right(attack, logits_of, test, rows, ctx.device)
            ctx.progress(position + 1, len(attacks))
        flat = sum(
            int(without_gradient(logits_of, x, labels).sum())
            for x, labels in _batches(test, rows, ctx.device)
        )
        tables = {"right": right, "without_gradient": flat, "n": len(rows)}
        return Evaluation(self._metrics(right, flat, len(rows)), tables)

    def _right(self, attack: Attack, logits_of: Any, test: LabelledImages, rows: Any, device: str) -> int:
        right = 0
        for x, labels in _batches(test, rows, device):
            attacked = attack(logits_of, x, labels)
            with torch.no_grad():
                right += int((logits_of(attacked).argmax(dim=1) == labels).sum())
        return right

    def _metrics(self, right: Mapping[str, int], flat: int, n: int) -> list[Metric]:
        config = self.config
        sizes = {"linf": f"eps={config.epsilon_linf_255:g}/255", "l2": f"eps={config.epsilon_l2:g}"}
        metrics = []
        for name in ("clean", "fgsm_linf", "pgd_linf", "pgd_l2"):
            attack = (name,) if name == "clean" else (name, sizes[name.partition("_")[2]])
            metrics.append(
                Metric(
                    "attacked_top1", 100 * right[name] / n, "%", True, (0, 100), 1e-9,
                    split="test", n=n, qualifiers=attack, role="curve",
                )
            )  # fmt: skip
        violations = sum(
            right[stronger] > right[weaker] + _SLACK_IMAGES
            for stronger, weaker in (
                ("pgd_linf", "fgsm_linf"), ("pgd_linf_double", "pgd_linf"), ("pgd_l2_double", "pgd_l2"),
                ("fgsm_linf", "clean"), ("pgd_l2", "clean"),
            )
        )  # fmt: skip
        checks = {
            "attack_violations": (
                violations, 5,
                "Stronger attacks that left at least two more images right than a weaker one: should be 0.",
            ),
            "without_gradient": (
                flat, n,
                "Images whose margin no pixel moves, to first order: the attacks cannot reach them. "
                "Should be 0.",
            ),
        }  # fmt: skip
        return metrics + [
            Metric(name, value, "", False, (0, most), 0.0, note, split="test", n=n, role="check")
            for name, (value, most, note) in checks.items()
        ]


def _batches(test: LabelledImages, rows: Any, device: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield pixels `float32 [n, 3, H, W]`, 0-1, and labels `int64 [n]` of some rows."""
    for start in range(0, len(rows), _BATCH_IMAGES):
        here = rows[start : start + _BATCH_IMAGES]
        yield test.batch(here).to(device).float() / 255, torch.from_numpy(test.labels[here]).to(device)


def differentiable(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network as a function of pixels `float [n, 3, H, W]`, 0-1, that gradients pass through."""
    inner, normalise = getattr(network, "network", None), getattr(network, "normalise", None)
    if inner is None or normalise is None:
        return lambda x: cast("torch.Tensor", network(x * 255))
    return lambda x: cast("torch.Tensor", inner(normalise(x * 255)))


def gradient(logits_of: Any, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each image's margin, which attacks climb: `float [n, 3, H, W]`."""
    return _sloped(logits_of, x, labels)[1]


def without_gradient(logits_of: Any, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Say for each image whether no pixel moves its margin, or its gradient is not finite: `bool [n]`.

    Margin and gradient grow alike with the scale of the logits, which therefore does not matter.
    """
    height, slope = _sloped(logits_of, x, labels)
    reach = slope.abs().flatten(1).sum(dim=1)
    return ~(reach > _FLAT * height.abs())  # not `<=`: that is false of NaN


def _sloped(logits_of: Any, x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each image's margin `float [n]`, positive where it is judged wrong, and its gradient."""
    with torch.enable_grad():
        wanted = x.detach().clone().requires_grad_()
        found = margin(logits_of(wanted), labels)
        return found.detach(), torch.autograd.grad(found.sum(), wanted)[0]


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the largest logit of another class less that of the true one: `float [n]`."""
    own = labels[:, None]
    return logits.scatter(1, own, -torch.inf).amax(dim=1) - logits.gather(1, own)[:, 0]


def fgsm(logits_of: Any, x: torch.Tensor, labels: torch.Tensor, epsilon: float) -> torch.Tensor:
    """Take one step of `epsilon` along the sign of the gradient, and stay in 0-1."""
    return (x + epsilon * gradient(logits_of, x, labels).sign()).clamp(0, 1)


def pgd(
    logits_of: Any,
    x: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    steps: int,
    step_fraction: float,
    norm: Norm,
) -> torch.Tensor:
    """Take projected steps; the attacked image is within `epsilon` of x in the norm, and in 0-1."""
    attacked: torch.Tensor = x
    for _ in range(steps):
        slope = gradient(logits_of, attacked, labels)
        slope = slope.sign() if norm == "linf" else slope / _length(slope).clamp_min(1e-12)
        change = attacked + step_fraction * epsilon * slope - x
        if norm == "linf":
            change = change.clamp(-epsilon, epsilon)
        else:
            change = change * (epsilon / _length(change).clamp_min(1e-12)).clamp(max=1)
        attacked = (x + change).clamp(0, 1)
    return attacked


def _length(x: torch.Tensor) -> torch.Tensor:
    length: torch.Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
    return length
