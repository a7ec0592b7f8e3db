"""Options of executors. Imported where plans are made: no engine is."""

from typing import ClassVar

from pydantic import Field

from genbench.options import ComponentConfig

_USUAL_JOBS = 32  # of a cluster of which nothing is known


class ExecutorConfig(ComponentConfig):
    """The options of an executor: `ray:address=auto`. None of them changes a result.

    `check_machine` says before anything runs what the machine lacks: a program, a cluster that answers.

    Class attributes:
        usual_retries: How often a step is begun again whose worker was lost, where `--retries` is not given:
            on one machine, what kills a worker once usually kills the next.
        is_here: Whether steps compute on this machine, whose cores and GPUs are then what there is.
    """

    usual_retries: ClassVar[int] = 0
    is_here: ClassVar[bool] = True

    @property
    def jobs_elsewhere(self) -> int:
        """How many steps are done at a time where that is not here, and `--jobs` does not say so."""
        return _USUAL_JOBS

    @property
    def threads_elsewhere(self) -> int:
        """How many threads a worker has that computes on a GPU elsewhere; a core for each is asked for."""
        return 1


class InlineConfig(ExecutorConfig):
    """Options of `inline`: none."""


class ProcessesConfig(ExecutorConfig):
    """Options of `processes`."""

    primary: ClassVar[str | None] = "memory_gib"

    memory_gib: float | None = Field(
        default=None,
        gt=0,
        description="memory that running steps may take together, as far as it is known what they take "
        "[default: nine tenths of the machine's, or of its container's]",
    )
