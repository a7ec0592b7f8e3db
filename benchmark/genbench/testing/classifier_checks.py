"""What is asked of a classifier."""

from typing import Any

import torch
from safetensors.torch import load, save

from genbench.protocols import TrainRecipe
from genbench.testing.asking import after
from genbench.testing.common_checks import target_is_of_its_kind
from genbench.testing.subject import Subject

_STEPS = 8
_ROUNDING = 1e-4  # of float32 logits of order 1, over other sizes of a batch


@after(target_is_of_its_kind)
def network_has_the_expected_face(subject: Subject) -> None:
    """Logits and penultimate features come out as the contract says, and the recipe is a TrainRecipe."""
    classifier, images = subject.build(), subject.images()
    assert isinstance(classifier.recipe(), TrainRecipe), "recipe() must return a TrainRecipe"
    own = classifier.normalisation()
    assert own is None or [len(values) for values in own] == [3, 3], (
        "normalisation() must return None, or mean and standard deviation for three channels"
    )
    network = _network(subject).eval()
    pixels = _pixels(subject)
    with torch.no_grad():
        logits, maps = network(pixels), network.forward_features(pixels)
        features = network.forward_head(maps, pre_logits=True)
        again = network.forward_head(maps)
    wanted = (len(images), images.num_classes)
    assert tuple(logits.shape) == wanted, f"logits are {list(logits.shape)}, not {list(wanted)}"
    assert [*features.shape[:1], features.ndim] == [len(images), 2], (
        f"forward_head(..., pre_logits=True) gives {list(features.shape)}, not [{len(images)}, D]"
    )
    assert torch.allclose(logits, again, atol=_ROUNDING), (
        "forward differs from forward_head(forward_features(x))"
    )


@after(network_has_the_expected_face)
def weights_are_drawn_from_the_seed(subject: Subject) -> None:
    """Initial weights come from torch's global generator, which the harness seeds: arms begin alike."""
    first, second = (_network(subject).state_dict() for _ in range(2))
    differ = [name for name, value in first.items() if not torch.equal(value, second[name])]
    assert not differ, f"with the same seed, {differ[0]} begins differently: draw it with torch.nn.init"


@after(network_has_the_expected_face)
def predictions_do_not_depend_on_the_batch(subject: Subject) -> None:
    """In evaluation mode an image has the same logits alone as among others."""
    network, pixels = _network(subject).eval(), _pixels(subject)
    with torch.no_grad():
        together, alone = network(pixels), torch.cat([network(pixels[:1]), network(pixels[1:6])])
    assert torch.allclose(together[:6], alone, atol=_ROUNDING), (
        "in evaluation mode, logits of an image change with the others in its batch"
    )


@after(weights_are_drawn_from_the_seed)
def network_can_be_saved(subject: Subject) -> None:
    """All that a network is stands in its `state_dict`, as tensors that share no memory."""
    network = _network(subject)
    _train(subject, network)
    state = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    rebuilt = _network(subject, seed=1)
    rebuilt.load_state_dict(load(save(state)))
    with torch.no_grad():
        logits, again = network.eval()(_pixels(subject)), rebuilt.eval()(_pixels(subject))
    assert torch.allclose(logits, again, atol=_ROUNDING), (
        "a network that was saved and loaded gives other logits: keep its state in parameters and buffers"
    )


@after(network_has_the_expected_face)
def network_learns(subject: Subject) -> None:
    """Gradients reach every parameter, and a few steps lower the loss."""
    network = _network(subject)
    losses = _train(subject, network)
    stuck = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not stuck, f"no gradient reaches {', '.join(stuck[:5])}"
    assert losses[-1] < losses[0], f"the loss does not fall: {losses[0]:.3f} to {losses[-1]:.3f}"


def _network(subject: Subject, seed: int = 0) -> Any:
    images = subject.images()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return subject.build().build(images.num_classes, images.image_shape)


def _pixels(subject: Subject) -> torch.Tensor:
    return subject.images().all().float() / 255 - 0.5


def _train(subject: Subject, network: Any) -> list[float]:
    """Take a few steps of Adam; return the loss before each."""
    network.train()
    pixels, labels = _pixels(subject), torch.from_numpy(subject.images().labels)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    with torch.random.fork_rng(devices=[]):  # dropout
        torch.manual_seed(0)
        for _ in range(_STEPS):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(pixels), labels)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(float(loss.detach()))
            optimizer.step()
    return losses
