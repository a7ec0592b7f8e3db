"""What a stranger's rows are worth: `genbench leaderboard submit` and `verify`.

layout      what a submission consists of, its bounds, and the suite as TOML
packing     a submission is written, from a store
intake      a submission is read, without trust, into a store of its own
replanning  its suite is planned again, with built-in components alone
comparing   two forms of a record, field by field, in words
recompute   metrics from predictions and from labels that the verifier loaded
rerun       cells that are drawn and run again
verify      all of this, as one `Verification` (`genbench.levels`)
"""
