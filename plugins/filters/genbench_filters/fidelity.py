"""`fidelity`: drops the images that an independent classifier does not take for their label.

Label fidelity alone, without a word on quality: the agreement half of `confidence`, with a judge of another
architecture than the usual classifier under test, so that the set is not trimmed to that one's own errors.
The same test on real images is the judge's accuracy: what it gets wrong among real images it drops here, too.
"""

from genbench.images import LabelledImages
from genbench.protocols import Filter, RunContext, Verdicts
from genbench_filters._shared import judged_logits, verdicts
from genbench_filters.configs.fidelity import FidelityConfig


class Fidelity(Filter):
    """Asks the judge for its first guess."""

    def __init__(self, config: FidelityConfig) -> None:
        self.config = config

    def keep(self, synthetic: LabelledImages, train: LabelledImages, ctx: RunContext) -> Verdicts:
        """Keep the images whose label is the judge's first guess; a tie goes to the lower class."""
        who = f"fidelity: judge {self.config.judge.use!r}"
        guesses = judged_logits(ctx.inputs["judge"], synthetic, ctx.device, who).argmax(axis=1)
        names = synthetic.class_names
        return verdicts(
            [
                "" if guess == label else f"judged {names[guess]}"
                for guess, label in zip(guesses, synthetic.labels, strict=True)
            ]
        )
