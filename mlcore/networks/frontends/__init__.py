"""Frontends: from the files and objects of other libraries to the IR."""
