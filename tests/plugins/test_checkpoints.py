"""Checkpoints of others: read, refused with the reason, evaluated as they are, or with one half frozen."""

import json
import shlex
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models.resnet import BasicBlock

from genbench.errors import DataError, UsageError
from genbench.images import ImageStatistics
from genbench.notation import parse_reference
from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.protocols import Classifier
from genbench.registry import Registry, import_target
from genbench.runner import RunSummary
from genbench.spec import resolve, resolve_suite
from genbench.steps.dataset import open_splits
from genbench.store import Store
from genbench.suite import make_suite
from genbench.training import NormalisedNetwork, freeze, head_parameters
from genbench.training.halves import hold_still

ROOT = Path(__file__).parents[2]
RunCells = Callable[..., tuple[Plan, RunSummary]]
NORMALISED = {"normalisation": "cifar10"}


def classifier(registry: Registry, name: str, **options: Any) -> Classifier:
    spec = registry.spec("classifier", name)
    config = import_target(spec.config, name).model_validate(options)
    built: Classifier = import_target(spec.target, name)(config)
    return built


def build(registry: Registry, name: str, seed: int = 0, size: int = 16, **options: Any) -> nn.Module:
    torch.manual_seed(seed)
    return classifier(registry, name, **options).build(4, (3, size, size))


def plan_of(registry: Registry, store: Store, *classifiers: str, **entries: Any) -> Plan:
    content = {"classifiers": classifiers, "evaluators": ["accuracy"], "preset": "smoke", **entries}
    return make_plan(resolve_suite(registry, make_suite(content, "test"), store.fingerprint))


# ------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    ("name", "options"),
    [("mlp", {"hidden_widths": [8]}), ("cnn", {"widths": [4, 4]}), ("cnn", {"architecture": "s3"}),
     ("resnet32", {"depth": 20}), ("vit", {}), ("timm", {"model": "resnet10t"})],
)  # fmt: skip
def test_every_classifier_starts_from_a_checkpoint(
    registry: Registry, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    """As torch saves it, nested and with the prefix of nn.DataParallel, and as safetensors."""
    source = build(registry, name, seed=1, **options)
    state = source.state_dict()
    nested = {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(nested, tmp_path / "nested.pth")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "flat.safetensors")
    fresh = build(registry, name, **options)
    assert any(not torch.equal(value, fresh.state_dict()[key]) for key, value in state.items())
    for file in ("nested.pth", "flat.safetensors"):
        loaded = build(registry, name, weights=tmp_path / file, **NORMALISED, **options)
        assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in state.items()), file


class _Padded(nn.Module):
    """Option A as akamaster/pytorch_resnet_cifar10 writes it."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self._planes = planes

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self._planes // 4, self._planes // 4))


class _Foreign(nn.Module):
    """The CIFAR ResNet of chenyaofo/pytorch-cifar-models, from torchvision's block; or with padding."""

    def __init__(self, blocks: int, padded: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        before = 16
        for stage, planes in enumerate((16, 32, 64), start=1):
            layers = []
            for place in range(blocks):
                stride = 2 if stage > 1 and place == 0 else 1
                change: nn.Module | None = None
                if stride == 2:
                    projection = nn.Conv2d(before, planes, 1, stride=2, bias=False)
                    change = _Padded(planes) if padded else nn.Sequential(projection, nn.BatchNorm2d(planes))
                layers.append(BasicBlock(before, planes, stride, change))
                before = planes
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.fc = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        maps = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(maps.mean(dim=(2, 3)))


@pytest.mark.parametrize("padded", [True, False])
def test_public_resnets_say_here_what_they_say_at_home(
    registry: Registry, tmp_path: Path, padded: bool
) -> None:
    """Option A is akamaster's architecture, whose last layer is called `linear`; option B chenyaofo's."""
    torch.manual_seed(3)
    foreign = _Foreign(3, padded)
    for _ in range(3):  # statistics that are no longer 0 and 1
        foreign(torch.randn(16, 3, 16, 16))
    last = "linear" if padded else "fc"
    state = {name.replace("fc.", f"{last}."): value for name, value in foreign.state_dict().items()}
    torch.save(state, tmp_path / "public.pt")
    options: dict[str, Any] = {"depth": 20, "shortcut": "A" if padded else "B", "normalisation": "imagenet"}
    ours = build(registry, "resnet32", weights=tmp_path / "public.pt", **options).eval()
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        assert torch.allclose(ours(images), foreign.eval()(images), atol=1e-5)


def test_what_does_not_fit_is_listed(registry: Registry, tmp_path: Path) -> None:
    torch.save(_Foreign(3, padded=False).state_dict(), tmp_path / "other.pt")
    message = (
        r"other.pt does not hold the weights of this resnet32: 60 missing \(blocks.3.conv1.weight.*and 52 "
        r"more\), 12 unexpected \(blocks.5.shortcut.0.weight.*\)\.\n"
        r"  it looks like resnet32:depth=20,shortcut=B"
    )
    with pytest.raises(DataError, match=message):
        build(registry, "resnet32", weights=tmp_path / "other.pt", **NORMALISED)
    torch.save(build(registry, "mlp", hidden_widths=[8]).state_dict(), tmp_path / "mlp.pt")
    message = (
        r"3 of another shape \(hidden.0.weight: 8x768, the network's is 9x768; hidden.0.bias: 8, .*is 9;"
        r" head.weight: 4x8, the network's is 4x9\)\.\n.*fresh_head=true"
    )
    with pytest.raises(DataError, match=message):
        build(registry, "mlp", hidden_widths=[9], weights=tmp_path / "mlp.pt", **NORMALISED)


def test_another_head_is_drawn_anew(registry: Registry, tmp_path: Path) -> None:
    torch.manual_seed(1)
    ten = classifier(registry, "cnn", widths=[4]).build(10, (3, 16, 16))
    torch.save(ten.state_dict(), tmp_path / "ten.pt")
    options: dict[str, Any] = {"widths": [4], "weights": tmp_path / "ten.pt", **NORMALISED}
    four = build(registry, "cnn", fresh_head=True, **options)
    assert torch.equal(four.state_dict()["blocks.0.weight"], ten.state_dict()["blocks.0.weight"])
    assert four.state_dict()["head.linear.weight"].shape == (4, 4)
    with pytest.raises(DataError, match="2 of another shape"):
        build(registry, "cnn", **options)


def test_weights_that_are_nan_are_named(registry: Registry, tmp_path: Path) -> None:
    state = build(registry, "mlp").state_dict()
    name = next(iter(state))
    save_file({**state, name: torch.full_like(state[name], torch.nan)}, tmp_path / "nan.safetensors")
    with pytest.raises(DataError, match=f"nan.safetensors holds NaN or infinity: {name}\n"):
        build(registry, "mlp", weights=tmp_path / "nan.safetensors", **NORMALISED)


def test_a_pickle_that_runs_code_is_refused_and_says_how_to_convert(
    registry: Registry, tmp_path: Path
) -> None:
    torch.save(build(registry, "mlp"), tmp_path / "whole.pth")
    message = (
        r"weights-only loader refuses \(it needs genbench_classifiers.mlp.MlpNetwork\).*\n  .*convert it"
    )
    with pytest.raises(DataError, match=message) as raised:
        build(registry, "mlp", weights=tmp_path / "whole.pth", **NORMALISED)
    python, option, code = shlex.split(raised.value.hint.splitlines()[-1])
    assert (python, option) == ("python", "-c")
    exec(code, {})
    build(registry, "mlp", weights=tmp_path / "whole.safetensors", **NORMALISED)
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match=r"torn.pth cannot be read"):
        build(registry, "mlp", weights=tmp_path / "torn.pth", **NORMALISED)
    torch.save({"args": {"lr": 0.1}}, tmp_path / "none.pth")
    with pytest.raises(DataError, match=r"none.pth holds no tensors by name"):
        build(registry, "mlp", weights=tmp_path / "none.pth", **NORMALISED)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("weights=there.pth", r"'mlp': weights=\.\.\. needs normalisation=.*Allowed: train, cifar10, "),
        ("weights=there.pth,normalisation=[1,1,1,0,1,1]", "the last three numbers are spreads, and above 0"),
        ("weights=nowhere.pth,normalisation=train", "there is no file .*nowhere.pth"),
        ("weights=there.onnx,normalisation=train", "there.onnx: unknown form; these are read: .safetensors"),
        ("fresh_head=true,recipe.epochs=0", "fresh_head needs recipe.epochs > 0"),
    ],
)
def test_options_that_cannot_be_meant(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("there.pth", "there.onnx"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises((UsageError, DataError), match=message):
        resolve(registry, "classifier", parse_reference(f"mlp:{options}"), "smoke", lambda path: "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("imagenet", ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ([0.5, 0.4, 0.3, 0.2, 0.1, 0.6], ((0.5, 0.4, 0.3), (0.2, 0.1, 0.6))),
        ("train", None),
        (None, None),
    ],
)
def test_pixels_are_normalised_as_the_weights_expect(registry: Registry, value: Any, expected: Any) -> None:
    assert classifier(registry, "cnn", normalisation=value).normalisation() == expected


def test_one_normalisation_has_one_key(registry: Registry) -> None:
    def identity(text: str) -> Any:
        return resolve(
            registry, "classifier", parse_reference(f"cnn{text}"), "quick", lambda path: ""
        ).identity

    assert identity(":normalisation=train") == identity("")
    numbers = ":normalisation=[0.485,0.456,0.406,0.229,0.224,0.225]"
    assert identity(numbers) == identity(":normalisation=imagenet") != identity("")
    assert identity(numbers.replace("0.485", "0.486")) != identity(numbers)


# ------------------------------------------------------------------------------------------------- freezing


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet32", "vit"])
def test_the_halves_are_those_of_timm(registry: Registry, name: str) -> None:
    network = build(registry, name)
    head = head_parameters(network, (3, 16, 16))
    assert {one.rpartition(".")[0] for one in head} <= {"head", "head.linear"}
    assert len(head) == 2
    assert network.training


@pytest.mark.parametrize("half", ["backbone", "head"])
def test_a_frozen_half_keeps_weights_and_statistics(registry: Registry, half: Any) -> None:
    network = build(registry, "cnn", widths=[4, 4])
    freeze(network, half, (3, 16, 16))
    hold_still(network.train())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], lr=0.1)
    nn.functional.cross_entropy(network(torch.rand(8, 3, 16, 16)), torch.arange(8) % 4).backward()
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("head.") == (half == "backbone") for name in changed), changed


@pytest.mark.parametrize("half", ["backbone", "head"])
def test_dropout_of_the_frozen_half_alone_is_off(registry: Registry, half: Any) -> None:
    """Modules without weights belong to the half that calls them; `embedding_dropout` lies at the root."""
    network = build(registry, "vit", embedding_dropout=0.3)
    network.head = nn.Sequential(nn.Dropout(0.5), network.head)
    freeze(network, half, (3, 16, 16))
    hold_still(network.train())
    modes = {name: module.training for name, module in network.named_modules()}
    assert modes["embedding_dropout"] is (half == "head")
    assert modes["head.0"] is (half == "backbone")
    same = torch.rand(2, 3, 16, 16)
    features = [cast("Any", network).forward_features(same) for _ in range(2)]
    assert torch.equal(*features) is (half == "backbone")


def test_freezing_everything_is_refused() -> None:
    class Headless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(12, 4)

        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.flatten(1))

    with pytest.raises(UsageError, match=r"recipe\.freeze=backbone leaves nothing to train"):
        freeze(Headless(), "backbone", (3, 2, 2))


# ------------------------------------------------------------------------------------------ evaluating only


def test_published_results_keep_their_keys(registry: Registry, store: Store) -> None:
    """New options must not enter the identity of results that were published without them."""
    folder = ROOT / "leaderboard" / "records" / "digits-quick"
    results = [json.loads(file.read_text())["result"] for file in folder.glob("cell-*.json")]
    published = {result["key"] for result in results if result["mix"]["augment"] == "standard"}
    assert len(published) == 40
    classifiers = [
        resolve(registry, "classifier", parse_reference(name), "quick", store.fingerprint)
        for name in ("cnn", "resnet32", "mlp", "vit", "timm")
    ]
    for one in classifiers:
        assert not {"weights", "normalisation", "fresh_head"} & set(one.identity["config"])
        assert "freeze" not in one.identity["config"]["recipe"]
        assert not one.external_data
    suite = make_suite(_suite("digits-quick"), "test")
    planned = make_plan(resolve_suite(registry, suite, store.fingerprint))
    assert published <= set(planned.records)
    other = resolve(
        registry, "classifier", parse_reference("cnn:normalisation=imagenet"), "quick", store.fingerprint
    )
    assert other.identity["config"]["normalisation"] == "imagenet"


def _suite(name: str) -> dict[str, Any]:
    file = ROOT / "benchmark" / "genbench" / "suites" / f"{name}.toml"
    return {"name": name, **tomllib.loads(file.read_text())}


@pytest.fixture
def checkpoint(registry: Registry, tmp_path: Path) -> tuple[nn.Module, Path]:
    """A network of the classifier `cnn` for digits, and its file."""
    torch.manual_seed(5)
    network = classifier(registry, "cnn").build(10, (3, 8, 8)).eval()
    torch.save(network.state_dict(), tmp_path / "a.pth")
    return network, tmp_path / "a.pth"


def test_weights_are_evaluated_as_they_are(
    run_cells: RunCells, registry: Registry, store: Store, checkpoint: tuple[nn.Module, Path]
) -> None:
    """One record with the accuracy of these weights; no image consumed; the path is no part of the key."""
    source, file = checkpoint
    text = f"cnn:weights={file},normalisation=imagenet,recipe.epochs=0"
    plan, summary = run_cells(classifiers=[text], datasets=["digits"], seeds=3)
    (record,) = summary.records
    result = record.result
    assert result.planned_indices == 1, "every seed would be the same network"
    assert result.classifier is not None
    assert result.classifier.external_data == ("a checkpoint (weights=)",)
    assert result.ledger.real is not None
    assert result.ledger.real.consumed_images == result.ledger.steps == 0
    assert result.ledger.real.available_images > 0
    dataset = store.open(next(key for key, step in plan.steps.items() if step.stage == "dataset"))
    assert dataset is not None
    test = open_splits(dataset).evaluated["test"]
    pixels = NormalisedNetwork(source, ImageStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        said = pixels(test.batch(np.arange(len(test)))).argmax(1).numpy()
    found = result.metric("top1")
    assert found is not None
    assert found.value == pytest.approx(100 * float((said == test.labels).mean()), abs=1e-9)
    (file.parent / "elsewhere").mkdir()
    copy = shutil.copy(file, file.parent / "elsewhere" / "b.pth")
    moved = plan_of(registry, store, text.replace(str(file), str(copy)), datasets=["digits"])
    assert moved.cells[0].train == plan.cells[0].train
    torch.save({**source.state_dict(), "blocks.0.weight": torch.zeros(32, 3, 3, 3)}, file)
    changed = plan_of(registry, store, text, datasets=["digits"])
    assert changed.cells[0].train != plan.cells[0].train


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"generators": ["copies"]}, "trains nothing: images of copies cannot reach it"),
        ({"mixes": [{"augment": "off"}, {"augment": "standard"}]}, "another augmentation or budget cannot"),
    ],
)
def test_nothing_is_compared_with_a_network_that_learns_nothing(
    registry: Registry, store: Store, tmp_path: Path, entries: dict[str, Any], message: str
) -> None:
    torch.save({}, tmp_path / "a.pth")
    text = f"cnn:weights={tmp_path}/a.pth,normalisation=train,recipe.epochs=0"
    with pytest.raises(UsageError, match=message):
        plan_of(registry, store, text, **entries)


def test_random_weights_are_not_evaluated(registry: Registry, store: Store) -> None:
    with pytest.raises(UsageError, match=r"reads no weights: what would be evaluated is drawn at random"):
        plan_of(registry, store, "cnn:recipe.epochs=0")
    with pytest.raises(UsageError, match="the last layer is always drawn anew"):
        plan_of(registry, store, "timm-pretrained:resnet18.a1_in1k,recipe.epochs=0")


def test_a_recipe_freezes(run_cells: RunCells, store: Store, checkpoint: tuple[nn.Module, Path]) -> None:
    """Through the whole harness: the backbone that comes out is the one of the checkpoint."""
    source, file = checkpoint
    text = f"cnn:weights={file},normalisation=train,recipe.freeze=backbone,recipe.epochs=1"
    plan, summary = run_cells(classifiers=[text], datasets=["digits"])
    assert not summary.failed
    artifact = store.open(plan.cells[0].train)
    assert artifact is not None
    trained = load_file(artifact.folder / "network.safetensors")
    kept = {name for name, value in source.state_dict().items() if torch.equal(value, trained[name])}
    assert kept == {name for name in trained if not name.startswith("head.")}
