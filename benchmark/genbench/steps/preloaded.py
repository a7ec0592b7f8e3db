"""What the server of rooms has loaded, so that a room opens in a twentieth of a second.

A worker imports it before it forks its server. Nothing of a third party is imported here, and no thread is
started: a room gives up its rights while it has one thread.
"""

import torch
import torch._dynamo  # the first optimizer imports it: 1.4 s in every room

import genbench.steps.guest
from genbench import watch
from genbench.rooms import guest
from genbench.steps.provenance import choose_arithmetic

__all__ = ["genbench"]

torch.set_num_threads(1)
choose_arithmetic()
guest.known = watch.attributes()
