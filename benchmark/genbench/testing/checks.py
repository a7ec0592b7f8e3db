"""Which checks are asked of which kind of component, and in which order.

Each raises AssertionError with a message that says what to correct.
"""

from collections.abc import Mapping

from genbench.executors.making import has_workers
from genbench.hookspecs import COPY_CHECK
from genbench.suite import BASELINE
from genbench.testing import classifier_checks as classifiers
from genbench.testing import common_checks as common
from genbench.testing import dataset_checks as datasets
from genbench.testing import evaluator_checks as evaluators
from genbench.testing import executor_checks as executors
from genbench.testing import filter_checks as filters
from genbench.testing import generator_checks as generators
from genbench.testing.asking import Check
from genbench.testing.subject import Subject

COMMON: tuple[Check, ...] = (
    common.options_are_documented,
    common.requirements_are_installed,
    common.config_imports_without_torch,
    common.presets_are_usable,
    common.paths_stay_out_of_keys,
    common.target_is_of_its_kind,
)
#: In the order in which they are asked; a check stands behind those that it rests on.
CHECKS: Mapping[str, tuple[Check, ...]] = {
    "dataset": (
        *COMMON,
        datasets.splits_can_be_used,
        datasets.splits_have_the_same_classes,
        datasets.dataset_loads_twice_the_same,
        datasets.files_that_are_read_are_named,
        datasets.random_state_is_left_alone,
    ),
    "generator": (
        *COMMON,
        generators.samples_are_what_was_asked_for,
        generators.samples_repeat,
        generators.random_state_is_left_alone,
        generators.samples_do_not_depend_on_the_split,
        generators.inputs_are_left_alone,
        generators.fits_repeat,
        generators.nothing_is_pickled,
        generators.saved_state_is_complete,
        generators.fit_can_be_stopped,
    ),
    "filter": (
        *COMMON,
        filters.filter_judges_every_image,
        filters.verdicts_repeat,
        filters.verdicts_do_not_depend_on_the_order,
        filters.every_class_keeps_images,
        filters.inputs_are_left_alone,
        filters.random_state_is_left_alone,
    ),
    "classifier": (
        *COMMON,
        classifiers.network_has_the_expected_face,
        classifiers.weights_are_drawn_from_the_seed,
        classifiers.predictions_do_not_depend_on_the_batch,
        classifiers.network_can_be_saved,
        classifiers.network_learns,
    ),
    "evaluator": (
        *COMMON,
        evaluators.evaluator_is_what_its_options_say,
        evaluators.metrics_are_well_formed,
        evaluators.metrics_repeat,
        evaluators.inputs_are_left_alone,
        evaluators.random_state_is_left_alone,
    ),
    "executor": (*COMMON, *executors.ALL),
}


def checks_of(subject: Subject) -> tuple[Check, ...]:
    """Return the checks of a component.

    The baseline generator makes no images, and the check for copies is handed what no plugin gets: of both,
    nothing is asked but what holds for all kinds. Of an executor without workers of its own, nothing is asked
    that only these can do.
    """
    chosen = (subject.resolved.kind, subject.resolved.name)
    is_own = chosen in {("generator", BASELINE), ("evaluator", COPY_CHECK.name)}
    checks = COMMON if is_own else CHECKS[subject.resolved.kind]
    if subject.resolved.kind == "executor" and not has_workers(subject.resolved):
        return tuple(check for check in checks if check not in executors.OF_WORKERS)
    return checks
