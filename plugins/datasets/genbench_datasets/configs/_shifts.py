"""Options of datasets whose test images can be corrupted. Imports neither torch nor numpy."""

from typing import Annotated, Literal

from pydantic import Field

from genbench.protocols import ADDED_LATER, DatasetConfig

Severity = Annotated[int, Field(ge=1, le=5)]


class ShiftOptions(DatasetConfig):
    """Options of a dataset whose test images can be corrupted."""

    shifts: tuple[Literal["computed"], ...] = Field(
        default=(), description="out-of-distribution test sets: `computed` corruptions of test"
    )
    severities: tuple[Severity, ...] = Field(
        default=(3,), min_length=1, description="severities of corruptions, 1 to 5"
    )
    limit_corrupted: Annotated[int | None, ADDED_LATER] = Field(
        default=None,
        ge=2,
        description="at most this many images of every computed corruption, stratified by class: there "
        "are fifteen of each severity",
    )
