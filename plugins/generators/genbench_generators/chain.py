"""`chain`: one generator edits the images that another one made.

`chain:first=ddpm,second=style_transfer` is style transfer of generated images. The second generator is
fitted on train as always; only its source images are the first one's.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from genbench.errors import UsageError
from genbench.protocols import Generator, RunContext, SampleRequest, SyntheticBatch
from genbench_generators.configs.chain import ChainConfig


class Chain(Generator):
    """Hands the first generator's images to the second one as its source images."""

    def __init__(self, config: ChainConfig) -> None:
        self.config = config

    def sample(self, request: SampleRequest, ctx: RunContext) -> Iterator[SyntheticBatch]:
        """Yield edited images; each says which training image it goes back to, if any.

        Raises:
            UsageError: The second generator does not start from images.
        """
        first = request.drafts["first"]
        inner = SampleRequest(request.labels, request.seeds, np.arange(len(request)), first.images)
        made = 0
        for batch in ctx.inputs["second"].sample(inner, ctx.inside("second")):
            if (batch.source_indices < 0).any():
                raise UsageError(
                    f"chain: option second is {self.config.second.use!r}, which makes images from nothing; "
                    "it must edit images",
                    hint="chain:first=ddpm,second=style_transfer",
                )
            rows = np.arange(made, made + len(batch.labels))
            made += len(rows)
            prompts = [
                "; ".join(filter(None, (first.prompts[row], prompt)))
                for row, prompt in zip(rows.tolist(), batch.prompts or [""] * len(rows), strict=True)
            ]
            yield replace(batch, source_indices=first.source_indices[rows], prompts=prompts)
