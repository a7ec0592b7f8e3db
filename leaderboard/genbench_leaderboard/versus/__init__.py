"""Two boards against each other: first what differs in configuration, then what differs in outcome.

sides       a board's rows, from records or from the JSON of a board
axes        what the rows of two sides vary, and which are alike but for that
outcome     which rows both have, and whether their gains can be told apart
told        what was found, as text, Markdown and JSON
"""

from genbench_leaderboard.versus.outcome import Versus, compare_sides
from genbench_leaderboard.versus.sides import Side, side_of_board, side_of_records
from genbench_leaderboard.versus.told import FORMS, render

__all__ = ["FORMS", "Side", "Versus", "compare_sides", "render", "side_of_board", "side_of_records"]
