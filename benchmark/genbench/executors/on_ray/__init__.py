"""Steps as tasks of a Ray cluster: `--executor ray`, `ray:address=auto` (docs/ray.md).

config    its options; imports no ray
executor  hands bundles to Ray, and turns what Ray says into events
cluster   connecting, what machines there are, whether each sees the store
board     an actor: where workers leave their events and learn what they are told
work      what a worker does with a bundle
"""
