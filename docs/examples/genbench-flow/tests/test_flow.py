"""`flow` holds to the contract, and to the paper's equations."""

import math

import pytest
import torch
from genbench_flow.flow import flow_matching_loss, integrate
from genbench_flow.network import VelocityNetwork

from genbench.testing.suites import GeneratorConformance


class TestFlow(GeneratorConformance):
    """Every check of the conformance kit."""

    component = "flow"


def test_the_loss_is_zero_for_the_velocity_of_the_path() -> None:
    """Between one image and one noise the path is a line: its velocity is known, Eq. 23."""
    x_1, x_0, t = torch.rand(4, 3, 4, 4), torch.randn(4, 3, 4, 4), torch.rand(4)
    exact = x_1 - 0.9 * x_0
    assert flow_matching_loss(lambda x, t: exact, x_1, x_0, t, 0.1) == 0
    assert flow_matching_loss(lambda x, t: exact + 2, x_1, x_0, t, 0.1) == pytest.approx(4, rel=1e-5)


def test_the_path_begins_at_noise_and_ends_near_the_image() -> None:
    """Eq. 22 at both ends."""
    x_1, x_0, seen = torch.rand(2, 3, 4, 4), torch.randn(2, 3, 4, 4), []

    def note(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        seen.append(x)
        return x

    flow_matching_loss(note, x_1, x_0, torch.tensor([0.0, 1.0]), 0.1)
    torch.testing.assert_close(seen[0][0], x_0[0])
    torch.testing.assert_close(seen[0][1], x_1[1] + 0.1 * x_0[1])  # Eq. 20: mean x_1, deviation sigma_min


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_a_solver_has_its_order(solver: str, order: int) -> None:
    """For dx/dt = x, whose solution is e, half the step leaves 2 ** -order of the error."""
    one = torch.ones(1, dtype=torch.float64)
    errors = [abs(float(integrate(lambda x, t: x, one, steps, solver)) - math.e) for steps in (64, 128)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.03)


@pytest.mark.parametrize("size", [4, 7, 8, 32])
def test_the_network_takes_any_size_and_heeds_time_and_class(size: int) -> None:
    """Also one that is not halved without a rest."""
    network = VelocityNetwork(8, 3)
    x, t, labels = torch.randn(2, 3, size, size), torch.full((2,), 0.3), torch.tensor([0, 1])
    v = network(x, t, labels)
    assert v.shape == x.shape
    assert not torch.equal(v, network(x, t + 0.1, labels))
    assert not torch.equal(v, network(x, t, labels + 1))
