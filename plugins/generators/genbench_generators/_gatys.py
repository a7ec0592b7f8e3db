"""A Neural Algorithm of Artistic Style (Gatys, Ecker and Bethge, arXiv:1508.06576), many images at a time.

With F the maps of an image at a layer, N channels x M positions, G = F F^T its Gram matrix (Eq. 3), P the
content image's maps and A the style image's Gram matrix, the pixels of every image minimise

    |F - P|^2 / |P|^2  +  style_weight * mean over layers of |G / M - A / M_a|^2 / |A / M_a|^2.

These are the paper's L_content (Eq. 1) and L_style (Eqs. 4, 5) with weights of their own choice: a term is
relative to its target, so that one `style_weight` means the same for every encoder, layer and image; and
Gram matrices are per position, so that style and content may differ in size. Other departures: the pixels
start at the content image (`start_noise` = 1 is the paper's white noise) and stay within 0-1.

The losses of the images are added: no image's gradient, and no step of Adam, sees another image. L-BFGS
would (its curvature is shared), so it is given one image at a time.
"""

from collections.abc import Callable, Sequence

import torch

from genbench_generators._encoders import Encoder
from genbench_generators.configs.style_transfer import StyleTransferConfig

Objective = Callable[[torch.Tensor], torch.Tensor]
_LBFGS_MEMORY = 10
_TINY = 1e-12


def gram(maps: torch.Tensor) -> torch.Tensor:
    """Return G / M, Gram matrices per position (Eq. 3): `float32 [n, C, h, w]` to `[n, C, C]`."""
    rows = maps.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def losses(
    encoder: Encoder,
    images: torch.Tensor,
    content: torch.Tensor,
    grams: Sequence[torch.Tensor],
    weight: float,
) -> torch.Tensor:
    """Return the loss of each image: `float32 [n]`.

    Args:
        encoder: What sees.
        images: `float32 [n, 3, h, w]`, 0-1.
        content: Maps of the content images: `float32 [n, C, h, w]`.
        grams: Gram matrices of the styles, per layer: `float32 [n, C, C]`.
        weight: Weight of the style.
    """
    maps = encoder(images)
    style = sum(_relative(gram(seen), wanted) for seen, wanted in zip(maps.style, grams, strict=True))
    return _relative(maps.content, content) + weight / len(grams) * style


def stylised(
    encoder: Encoder,
    sources: torch.Tensor,
    grams: Sequence[torch.Tensor],
    start: torch.Tensor,
    config: StyleTransferConfig,
) -> torch.Tensor:
    """Optimise the pixels of each image from `start`: `float32 [n, 3, h, w]`, 0-1.

    Args:
        encoder: What sees.
        sources: The content images: `float32 [n, 3, h, w]`, 0-1; n is 1 for `lbfgs`.
        grams: As in `losses`.
        start: Images to start from, of the shape of `sources`.
        config: Options.
    """
    with torch.no_grad():
        content = encoder(sources).content

    def objective(pixels: torch.Tensor) -> torch.Tensor:
        return losses(encoder, pixels, content, grams, config.style_weight).sum()

    minimise = _lbfgs if config.optimizer == "lbfgs" else _adam
    return minimise(objective, start, config)


def _adam(objective: Objective, start: torch.Tensor, config: StyleTransferConfig) -> torch.Tensor:
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], config.learning_rate)
    for _ in range(config.steps):
        (pixels.grad,) = torch.autograd.grad(objective(pixels), pixels)
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
    return pixels.detach()


def _lbfgs(objective: Objective, start: torch.Tensor, config: StyleTransferConfig) -> torch.Tensor:
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [pixels],
        max_iter=config.steps,
        history_size=_LBFGS_MEMORY,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss = objective(pixels)
        pixels.grad = torch.autograd.grad(loss, pixels)[0].contiguous()
        return float(loss.detach())

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return pixels.detach().clamp(0, 1)


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return |found - wanted|^2 / |wanted|^2 of each image: `float32 [n]`."""
    distance = (found - wanted).square().flatten(1).sum(dim=1)
    return distance / (wanted.square().flatten(1).sum(dim=1) + _TINY)
