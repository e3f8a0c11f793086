"""Keys and passwords that people paste with a question: taken out of every text that others may read."""

from __future__ import annotations

import re

_KEYS = re.compile(
    r"\b(?:ml4ep_|sk-(?:proj-|ant-)?|gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|AKIA)[A-Za-z0-9_-]{12,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+"
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_IN_ADDRESS = re.compile(r"(?<=://)[^\s/@:]+:[^\s/@]+(?=@)")
_NAMED = re.compile(
    r"(?i)\b((?:api[_-]?key|access[_-]?token|auth[_-]?token|token|secret|password|passwd)[\"']?\s*[:=]\s*[\"']?)([^\s\"',;]{8,})"
)
GONE = "(removed)"


def redacted(text: str) -> str:
    """``text`` without what looks like a key, a token or a password."""
    text = _PRIVATE_KEY.sub(GONE, text)
    text = _KEYS.sub(GONE, text)
    text = _IN_ADDRESS.sub(GONE, text)
    return _NAMED.sub(lambda found: found[1] + GONE, text)
