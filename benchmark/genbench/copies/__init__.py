"""The harness's own check for copies of test images: docs/design/copies.md says what it sees, and what not.

`grids` brings images to whole numbers, `search` finds the real images that are most alike, `scores` says how
much better test explains an image than train does, `known` is what is computed once of a dataset, `evaluator`
the step, and `genbench.counts.CopyTable` its result. All sums are of whole numbers that floats hold exactly:
the answer is the same, bit for bit, for any size of chunks, number of threads, and device.
"""
