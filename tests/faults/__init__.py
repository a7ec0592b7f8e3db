"""Faults and attacks, tried on purpose: `python tests/faults` is the campaign."""
