"""Emitters: from the IR to source code and weights."""
