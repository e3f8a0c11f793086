"""Measured answers: golden questions, what search and answers make of them, and two configurations compared.

`read_golden` reads questions whose answers are known, `evaluate` asks them, `summarise` and `compare` say how it went.
"""

from assistant.evaluation.compare import Difference, compare
from assistant.evaluation.golden import Golden, read_golden
from assistant.evaluation.metrics import METRICS, Outcome, Summary, summarise
from assistant.evaluation.report import read_report, report_json, report_text
from assistant.evaluation.run import CodeRun, Configuration, RunCode, evaluate, retrieval_options

__all__ = [
    "METRICS",
    "CodeRun",
    "Configuration",
    "Difference",
    "Golden",
    "Outcome",
    "RunCode",
    "Summary",
    "compare",
    "evaluate",
    "read_golden",
    "read_report",
    "report_json",
    "report_text",
    "retrieval_options",
    "summarise",
]
