"""Which steps of a plan wait, and which of them comes next: counts of inputs, and heaps of what is ready.

Nothing here looks through all steps: work grows with what changes, not with what waits. A step that becomes
ready, is taken or is settled costs the logarithm of the number of ready steps, and a settled one as many
additions as it has users. Pure bookkeeping: it knows neither store nor executor.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence


class Frontier:
    """The steps that wait, in the order in which they come.

    A step waits until it is started or given up (`leave`), and is *settled* as soon as nobody has to wait for
    it any more: its result is there, or will never be.

    Invariants, between two calls:
        * `_left[key]` is there for every step that waits, and for no other; it counts its inputs, each once,
          that are not settled yet.
        * A step that waits and has none left is in exactly one of these: ready (`_ready`, and with those
          that are alike in `_alike`), held back (`_held`), deferred (`_deferred`), or in the hands of who
          took it, which ends with `leave`, `settle` or `defer`.
        * `_order` may hold entries of steps that are not ready any more; `_ready` decides.

    Args:
        keys: Steps that wait, the one that comes first in front.
        inputs: Of each, the steps that it needs; those that do not wait are there already.
        kinds: Of steps that may run side by side with others of the same kind, their kind.
        first: Steps that alone may run until `let_all` is called; if there are none, all may.
    """

    def __init__(
        self,
        keys: Sequence[str],
        inputs: Mapping[str, Iterable[str]],
        kinds: Mapping[str, str] | None = None,
        first: Collection[str] = (),
    ) -> None:
        self._kinds = dict(kinds or {})
        self._first = frozenset(first)
        self._rank: dict[str, int] = {}
        self._left: dict[str, int] = dict.fromkeys(keys, 0)
        self._users: dict[str, list[str]] = defaultdict(list)
        self._ready: set[str] = set()
        self._order: list[tuple[int, str]] = []  # a heap
        self._alike: dict[str, list[tuple[int, str]]] = defaultdict(list)  # heaps, by kind
        self._held: list[str] = []
        self._deferred: list[tuple[float, int, str]] = []  # a heap
        for key in keys:
            self._rank[key] = len(self._rank)
            for needed in set(inputs[key]) & self._left.keys():
                self._left[key] += 1
                self._users[needed].append(key)
            if not self._left[key]:
                self._make_ready(key)

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def __len__(self) -> int:
        return len(self._left)

    def add(self, key: str) -> None:
        """Let a further step wait, after all others; whatever it needs is settled."""
        self._rank[key] = len(self._rank)
        self._left[key] = 0
        self._make_ready(key)

    def take(self, most_together: int = 1, workers: int = 1) -> list[str]:
        """Return the step that comes next, with ready ones of its kind; empty where none is ready.

        Args:
            most_together: How many, at most.
            workers: Among whom those of a kind are shared: never more than a worker's share is returned, or
                the others would idle.
        """
        while self._order:
            _, key = heapq.heappop(self._order)
            if key not in self._ready:
                continue  # it was taken with others of its kind
            kind = self._kinds.get(key)
            if kind is None:
                self._ready.remove(key)
                return [key]
            # What is first of all that is ready is first of its kind: it is among those that are returned.
            alike = self._alike[kind]
            share = min(most_together, math.ceil(len(alike) / workers))
            bundle = [heapq.heappop(alike)[1] for _ in range(share)]
            self._ready.difference_update(bundle)
            return bundle
        return []

    def leave(self, key: str) -> None:
        """Note that a step waits no more; its users do until it is settled."""
        self._left.pop(key, None)

    def take_back(self, key: str) -> None:
        """Let a step wait again that had left, and is not settled; `defer` says when it is ready."""
        self._left[key] = 0

    def settle(self, key: str) -> None:
        """Note that nobody has to wait for a step any more."""
        self.leave(key)
        for user in self._users.pop(key, ()):
            if user in self._left:
                self._left[user] -= 1
                if not self._left[user]:
                    self._make_ready(user)

    def users(self, key: str) -> list[str]:
        """Return the steps that wait for this one, which is not settled yet."""
        return [user for user in self._users.get(key, ()) if user in self._left]

    def let_all(self) -> None:
        """Let all steps run, not only the first ones."""
        self._first = frozenset()
        held, self._held = self._held, []
        for key in held:
            self._make_ready(key)

    # --------------------------------------------------------------------------------------------- deferred

    @property
    def deferred(self) -> int:
        """How many steps are deferred."""
        return len(self._deferred)

    @property
    def due(self) -> float:
        """When the first deferred step is ready again; infinite where there is none."""
        return self._deferred[0][0] if self._deferred else math.inf

    def defer(self, key: str, until: float) -> None:
        """Let a step that was taken be ready again at a time; the clock is the caller's."""
        heapq.heappush(self._deferred, (until, self._rank[key], key))

    def wake(self, now: float) -> None:
        """Let the deferred steps whose time has come be ready."""
        while self._deferred and self._deferred[0][0] <= now:
            self._make_ready(heapq.heappop(self._deferred)[2])

    # ---------------------------------------------------------------------------------------------- private

    def _make_ready(self, key: str) -> None:
        if self._first and key not in self._first:
            self._held.append(key)
            return
        self._ready.add(key)
        heapq.heappush(self._order, (self._rank[key], key))
        if key in self._kinds:
            heapq.heappush(self._alike[self._kinds[key]], (self._rank[key], key))
