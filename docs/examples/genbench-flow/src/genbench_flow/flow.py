"""`flow`: Lipman et al., "Flow Matching for Generative Modeling", ICLR 2023, arXiv:2210.02747.

The conditional paths are the paper's optimal-transport ones (section 4.1, example II). Departures: the
network is a small U-Net without attention, the class is an input of it, and the flow is integrated in equal
steps by Euler's or Heun's method in place of an adaptive solver.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from genbench.images import LabelledImages
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_flow.config import FlowConfig
from genbench_flow.network import VelocityNetwork

_MICRO_BATCH_IMAGES = 64  # all calls of the network have this size: another one changes the last bits
Velocity = Callable[[torch.Tensor, float], torch.Tensor]


class Flow(Generator):
    """Learns the velocity that carries noise to images along straight lines, and follows it."""

    def __init__(self, config: FlowConfig) -> None:
        self._config = config
        self._network: nn.Module | None = None

    def fit(self, train: LabelledImages, ctx: RunContext) -> None:
        """Minimise the loss of `flow_matching_loss`; a stopped fit resumes at the next iteration.

        Raises:
            FloatingPointError: The loss is no number any more.
        """
        config = self._config
        network = self._build(train.num_classes, ctx).train()
        average = copy.deepcopy(network).requires_grad_(False)
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
        saved = ctx.restore()
        if saved:
            _read(saved.tensors, network, average, optimizer)
        for iteration in range(saved.meta["done"] if saved else 0, config.iterations):
            # Every draw of an iteration is named by its number: a fit that resumes draws the same.
            rng = ctx.rng("iteration", iteration)
            rows = torch.randint(len(train), (config.batch_size_images,), generator=rng)
            images = train.batch(rows).float() / 127.5 - 1
            if ctx.dataset.flip:  # a mirrored image keeps its class: the dataset says so
                mirrored = torch.rand(len(rows), generator=rng) < 0.5
                images[mirrored] = images[mirrored].flip(3)
            noise, t = torch.randn(images.shape, generator=rng), torch.rand(len(rows), generator=rng)
            labels = torch.from_numpy(train.labels[rows.numpy()]).to(ctx.device)
            parts = (images.to(ctx.device), noise.to(ctx.device), t.to(ctx.device))
            loss = flow_matching_loss(lambda x, t, y=labels: network(x, t, y), *parts, config.sigma_min)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} in iteration {iteration}")
            _follow(average, network, min(config.ema_decay, (1 + iteration) / (10 + iteration)))
            ctx.progress(iteration + 1, config.iterations, loss=loss.item())
            if ctx.checkpoint_due():
                ctx.checkpoint(_written(network, average, optimizer), {"done": iteration + 1})
        self._network = average.eval()

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Carry the noise of each image's own seed along the flow of its class."""
        assert self._network is not None
        network = self._network.to(ctx.device)
        for start in range(0, len(request), _MICRO_BATCH_IMAGES):
            rows = np.arange(start, min(start + _MICRO_BATCH_IMAGES, len(request)))
            padded = np.resize(rows, _MICRO_BATCH_IMAGES)
            shape = request.train.image_shape
            noise = [
                torch.randn(shape, generator=torch.Generator().manual_seed(int(seed)))
                for seed in request.seeds[padded]
            ]
            labels = torch.from_numpy(request.labels[padded]).to(ctx.device)

            def velocity(x: torch.Tensor, t: float, labels: torch.Tensor = labels) -> torch.Tensor:
                found: torch.Tensor = network(x, torch.full((len(x),), t, device=x.device), labels)
                return found

            with torch.no_grad():
                start_images = torch.stack(noise).to(ctx.device)
                images = integrate(velocity, start_images, self._config.solver_steps, self._config.solver)
            pixels = ((images[: len(rows)] + 1) * 127.5).round().clamp(0, 255).byte().cpu()
            yield SyntheticBatch(pixels, request.labels[rows], np.full(len(rows), -1, dtype=np.int64))

    def save(self, folder: Path) -> None:
        """Write the averaged weights."""
        assert self._network is not None
        weights = {name: value.cpu().contiguous() for name, value in self._network.state_dict().items()}
        save_file(weights, folder / "network.safetensors")

    def load(self, folder: Path) -> None:
        """Read them; how many classes there are is the size of the class embedding."""
        weights = load_file(folder / "network.safetensors")
        network = VelocityNetwork(self._config.channels, len(weights["label.weight"]))
        network.load_state_dict(weights)
        self._network = network.requires_grad_(False).eval()

    def _build(self, num_classes: int, ctx: RunContext) -> nn.Module:
        """Return a fresh network; torch draws weights from its global generator, which is put back."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ctx.seed("weights"))
            return VelocityNetwork(self._config.channels, num_classes).to(ctx.device)


def flow_matching_loss(
    velocity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    x_1: torch.Tensor,
    x_0: torch.Tensor,
    t: torch.Tensor,
    sigma_min: float,
) -> torch.Tensor:
    """Return the conditional flow-matching loss of a batch, Eq. 23, as a mean over pixels.

    Args:
        velocity: The network, of a place and a time.
        x_1: Images: `float [n, 3, H, W]`, about -1 to 1.
        x_0: Standard normal noise of the same shape.
        t: Times in [0, 1]: `float [n]`.
        sigma_min: Standard deviation at the end of the path.
    """
    at = t[:, None, None, None]
    psi_t = (1 - (1 - sigma_min) * at) * x_0 + at * x_1  # Eq. 22
    return (velocity(psi_t, t) - (x_1 - (1 - sigma_min) * x_0)).square().mean()


def integrate(velocity: Velocity, x: torch.Tensor, steps: int, solver: str) -> torch.Tensor:
    """Follow dx/dt = v(x, t), Eq. 1, from t = 0 to 1 in equal steps: `euler` (order 1), `heun` (order 2)."""
    h = 1 / steps
    for step in range(steps):
        slope = velocity(x, step * h)
        if solver == "heun":
            slope = (slope + velocity(x + h * slope, (step + 1) * h)) / 2
        x = x + h * slope
    return x


def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the averaged weights towards those of the network."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def _written(network: nn.Module, average: nn.Module, optimizer: torch.optim.Adam) -> dict[str, torch.Tensor]:
    """Return all that changes in a fit, as tensors by name."""
    moments = {
        f"adam.{number}.{name}": value
        for number, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {
        **weights,
        **{f"average.{name}": value for name, value in average.state_dict().items()},
        **moments,
    }


def _read(
    tensors: Mapping[str, torch.Tensor], network: nn.Module, average: nn.Module, optimizer: torch.optim.Adam
) -> None:
    """Put back what `_written` returned."""
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "average": {}, "adam": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    network.load_state_dict(parts["network"])
    average.load_state_dict(parts["average"])
    state: dict[int, dict[str, Any]] = {}
    for name, value in parts["adam"].items():
        number, _, moment = name.partition(".")
        state.setdefault(int(number), {})[moment] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
