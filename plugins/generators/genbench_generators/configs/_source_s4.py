"""The compositions of the source S4. Imports neither torch nor numpy."""

STYLED = {"use": "style_transfer", "preset": "source-s4"}


VARIATIONS = {"use": "image_variations"}  # what they may cost is for the user to say


ORIGINALS_AND_VARIATIONS = {"use": "union", "first": "copies", "second": VARIATIONS}
