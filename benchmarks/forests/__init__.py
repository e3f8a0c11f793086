"""Forests of decision trees against every peer: models, peers, native calls, and the comparisons. See ../README.md."""
