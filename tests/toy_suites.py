"""Plans of suites whose components are toys: a run takes a second."""

from typing import Any

from genbench.plan import Plan
from genbench.planner import make_plan
from genbench.registry import Registry
from genbench.spec import resolve_suite
from genbench.store import Store
from genbench.suite import make_suite


def toy_plan(registry: Registry, store: Store, **entries: Any) -> Plan:
    """Plan the toy suite, 2 seeds of `toy` and `toy-net`, with other `entries` where given."""
    toys = {
        "datasets": ["toy-data"],
        "classifiers": ["toy-net"],
        "generators": ["toy"],
        "reference": "toy-net",
    }
    suite = make_suite({**toys, "evaluators": ["accuracy", "fid"], "seeds": 2, **entries}, "test")
    return make_plan(resolve_suite(registry, suite, store.fingerprint))
