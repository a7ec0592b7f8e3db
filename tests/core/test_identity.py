"""Digests, seeds and counters: identity must not depend on order, position or splitting."""

import hashlib
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from genbench.digest import canonical_json, differences, digest, file_digest
from genbench.errors import GenbenchError
from genbench.seeding import counter_bits, counter_uniform, derive_seed

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6))
def test_digest_ignores_the_order_of_entries(document: dict[str, object]) -> None:
    backwards = dict(reversed(document.items()))
    assert digest(document) == digest(backwards)


@given(json_values, json_values)
def test_differences_are_empty_exactly_for_equal_values(left: object, right: object) -> None:
    assert (differences(left, right) == []) == (left == right)


def test_digest_is_sha256_of_the_canonical_text() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    assert digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize("value", [math.nan, math.inf, object(), {"x": {1, 2}}])
def test_what_is_not_json_has_no_identity(value: object) -> None:
    with pytest.raises(GenbenchError, match="cannot take the identity"):
        digest(value)


def test_file_digest_reads_the_whole_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "file").write_bytes(content)
    assert file_digest(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_seeds_depend_on_every_part_and_on_their_order() -> None:
    parts = [("train", 0, "digits", "cnn", index) for index in range(200)]
    seeds = {
        derive_seed(*part)
        for part in [*parts, ("train", 1, "digits", "cnn", 0), ("train", 0, "cnn", "digits", 0)]
    }
    assert len(seeds) == 202
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed("a", "bc") != derive_seed("ab", "c")


def splitmix64(x: int) -> int:
    """An independent SplitMix64 finaliser in Python's unbounded integers."""
    mask = (1 << 64) - 1
    x &= mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def test_counter_bits_agree_with_integers_without_overflow() -> None:
    mask, golden = (1 << 64) - 1, 0x9E3779B97F4A7C15
    for seed, first, second in [(1, 0, 0), (2**62 + 5, 49_999, 7), (12345, 3, 2**40)]:
        state = splitmix64((seed * 5 + first * golden + golden) & mask)
        state = splitmix64((state * 5 + second * golden + golden) & mask)
        assert int(counter_bits(seed, first, second)) == state & (2**63 - 1)


def test_counter_uniform_is_uniform_and_independent_of_splitting() -> None:
    counters = torch.arange(100_000)
    whole = counter_uniform(7, counters, 3)
    parts = torch.cat([counter_uniform(7, part, 3) for part in counters.split(777)])
    assert torch.equal(whole, parts)
    assert whole.min() >= 0
    assert whole.max() < 1
    histogram = torch.histc(whole, bins=20, min=0, max=1)
    chi_square = float(((histogram - 5000) ** 2 / 5000).sum())
    assert chi_square < 43.8  # 99.9 % of chi-square with 19 degrees of freedom
    assert abs(float(torch.corrcoef(torch.stack([whole, counter_uniform(7, counters, 4)]))[0, 1])) < 0.015
