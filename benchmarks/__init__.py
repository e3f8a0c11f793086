"""The figures: each case checks its answers, then times itself against its peers. See README.md."""
