"""What source papers reported, the same settings replayed, and the controlled version (`genbench replay`).

experiment.py   an experiment as typed data: what was reported, and which rows answer it
columns.py      its columns as suites, and the rows of their records
stored.py       numbers that are computed again from predictions that a source published
outcome.py      values, effects and verdicts
planned.py      what a run would take
words.py        headlines, verdicts counted, and what the words mean
tables.py       a table, for a terminal and as Markdown
shown.py        all of an outcome, as text, Markdown and JSON
listed.py       the list of all experiments
experiments/    the experiments
"""
