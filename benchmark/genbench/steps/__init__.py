"""What each step does: the only caller of plugins. A stage is one file, from its inputs to what it leaves.

execute     one step: inputs opened, stage called, artifact stored
workshop    where steps are executed, and what a stage is handed
components  the component of a step and what its options hand over
context     progress, seeds, checkpoints and the loss curve for the plugin that is called
dataset     fit  sample  filtering  train  predict  embed  evaluate: the stages
helpers     further devices that make shards of a sampled set side by side
requests    which images are asked for;  samples  a sampled set on its way and in the store
networks    networks from names and from artifacts;  extractors  frozen ones
stages      which function does which
visits      a stranger's step from outside;  guest  the same from inside its room
remarks     what libraries print during a step
provenance  hardware, versions and commit, for the manifest;  profiling  where the time of a training goes
"""

from genbench.steps.execute import execute
from genbench.steps.sample import sample_with_fixed_noise
from genbench.steps.workshop import Rooms, Workshop

__all__ = ["Rooms", "Workshop", "execute", "sample_with_fixed_noise"]
