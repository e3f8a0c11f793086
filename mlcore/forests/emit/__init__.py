"""Emitters: from the tree IR to source code, one module a language."""
