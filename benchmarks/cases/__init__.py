"""The cases: one module each; see ../README.md."""
