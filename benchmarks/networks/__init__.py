"""Networks of the zoo against every peer: tasks, peers, native calls, and the comparisons. See ../README.md."""
