"""``python -m benchmarks [--quick] [case ...]``"""

from __future__ import annotations

import argparse
import pkgutil
import sys
from importlib import import_module
from pathlib import Path

from benchmarks import cases, machine, report
from benchmarks.measure import Settings

ROOT = Path(__file__).parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Run the cases and write the figures."""
    known = sorted(module.name for module in pkgutil.iter_modules(cases.__path__) if not module.name.startswith("_"))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Check the answers, then time them against the peers."
    )
    parser.add_argument("cases", nargs="*", metavar="case", help=f"which to run; by default all: {', '.join(known)}")
    parser.add_argument("--quick", action="store_true", help="small and rough; the documentation is left alone")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.cases if name not in known]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(known)}")

    cache = ROOT / "benchmarks" / "out"
    cache.mkdir(exist_ok=True)
    settings = Settings(quick=chosen.quick, cache=cache)
    folder = cache / "quick" if chosen.quick else ROOT / "docs" / "figures"
    facts = machine.describe()
    for name in chosen.cases or known:
        module = import_module(f"benchmarks.cases.{name}")
        print(f"{module.TITLE} ...", flush=True)
        comparisons = module.run(settings)
        in_brief = getattr(module, "IN_BRIEF", False)
        report.store(folder, name, module.TITLE, comparisons, {**facts, **getattr(module, "FACTS", {})}, in_brief=in_brief)
        for comparison in comparisons:
            print("\n".join(report.section(comparison)), flush=True)
    if not chosen.quick:
        (ROOT / "docs" / "figures.md").write_text(report.render(folder), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
