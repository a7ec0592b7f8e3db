"""The compositions of the source S4. Imports neither torch nor numpy."""

STYLED = {"use": "style_transfer", "preset": "source-s4"}


#: DALL-E 2's variations; what they may cost is for the user to say.
VARIATIONS = {"use": "image_variations", "preset": "source-s4"}


ORIGINALS_AND_VARIATIONS = {"use": "union", "first": "copies", "second": VARIATIONS}
