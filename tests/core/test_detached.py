"""How runs stand: what a journal tells of them, and which journals are read for that."""

from genbench.executors import Event
from genbench.journals import Journal, read_story
from genbench.registry import Registry
from genbench.store import Store
from toy_suites import toy_plan


def test_a_step_that_another_run_did_is_done_in_the_journal(registry: Registry, store: Store) -> None:
    plan = toy_plan(registry, store, evaluators=["accuracy"], seeds=1)
    journal = Journal(store.root, "0123456789ab")
    first, second, *_ = plan.steps.values()
    journal.planned([first, second], plan)
    journal.event(first, Event(first.key, "queued", note="another run has taken it over"))
    journal.event(first, Event(first.key, "found"))
    story = read_story(store.root, "0123456789ab")
    assert story is not None
    assert [(one.label, one.note) for one in story.in_state("done")] == [(first.label, "")]
