"""What steps take, for engines that place them: measured when the like was done before, else declared.

Steps are alike where `genbench plan` estimates one from the other (`genbench.costs`). The largest peak that
was measured, with a margin, is what a step needs; of one that nobody has done, what its components declare
for the preset `paper`. What neither tells is unknown, and an engine takes it for nothing.
"""

from collections.abc import Iterable, Mapping, Sequence

from genbench.costs import Estimator, Place
from genbench.devices import device_name
from genbench.executors import Needs
from genbench.machine import processor
from genbench.plan import Plan
from genbench.registry import Registry
from genbench.store import Store

MARGIN = 1.25  #: of measured peaks: the next one may be a little higher
_GIB = 2**30
_CONTEXT_BYTES = _GIB // 2  # of a process on a GPU, which torch does not count
_MOST_LEARNED = 5_000  # artifacts whose cost is looked at: the newest


def needs_of(
    plan: Plan, keys: Sequence[str], store: Store, registry: Registry, device: str, threads: int = 1
) -> Mapping[str, Needs]:
    """Return what each of these steps needs.

    Args:
        plan: Theirs.
        keys: Of the steps.
        store: Where steps of earlier runs are.
        registry: Where components declare what they need.
        device: `"cpu"` or `"cuda"`.
        threads: Of each worker.
    """
    if not keys:
        return {}
    place = Place(device_name(device), processor())
    estimator = Estimator(plan, store, registry, place, newest=_MOST_LEARNED)
    return {key: _needs_of(plan, key, estimator, registry, device, threads) for key in keys}


def _needs_of(
    plan: Plan, key: str, estimator: Estimator, registry: Registry, device: str, threads: int
) -> Needs:
    step, estimate = plan.steps[key], estimator.of(key)
    resources = [registry.spec(kind, name).resources for kind, name in step.parts.components]
    measured = None if estimate.peak_bytes is None else int(MARGIN * estimate.peak_bytes)
    machine = _largest(one.memory_gib for one in resources)
    if not device.startswith("cuda") or step.stage == "dataset":
        return Needs(threads, memory_bytes=measured or machine, seconds=estimate.seconds)
    on_gpu = measured + _CONTEXT_BYTES if measured else _largest(one.gpu_memory_gib for one in resources)
    return Needs(threads, 1, machine, on_gpu, estimate.seconds)


def _largest(gibibytes: Iterable[float]) -> int | None:
    return int(max(gibibytes, default=0.0) * _GIB) or None
