"""``ml4ep evaluate``: how well the assistant finds and answers, measured on questions whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from portal.cli import assistant, console
from portal.cli.errors import CommandError

if TYPE_CHECKING:
    from assistant.evaluation import Configuration, Golden, Outcome
    from assistant.evaluation.run import RunCode
    from assistant.providers.base import Provider
    from assistant.retrieval import RetrievalOptions


def evaluate(
    golden: Annotated[
        list[Path], typer.Argument(metavar="GOLDEN.jsonl...", help="Questions with known answers, one JSON object a line.")
    ],
    retrieval_only: Annotated[
        bool, typer.Option("--retrieval-only", help="Look at the passages only; no answers are written. Much faster.")
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A model of the configured server; “none” quotes passages. Default: the configured one.",
        ),
    ] = "",
    options: Annotated[
        str,
        typer.Option("--options", metavar="NAME=VALUE,...", help="Options of the search, for example “dense=0,condense=off”."),
    ] = "",
    compare: Annotated[
        str,
        typer.Option(
            "--compare",
            metavar="OPTIONS|REPORT",
            help="Compare with other options of the search, or with a report that --json printed before.",
        ),
    ] = "",
    misses: Annotated[bool, typer.Option("--misses", help="List the questions whose source did not come first.")] = False,
    code: Annotated[bool, typer.Option("--code/--no-code", help="Run the code of answers in the sandbox.")] = True,
    as_json: console.AsJson = False,
) -> None:
    """Measure search and answers.

    Each line of GOLDEN.jsonl is a question with the sources that answer it (“gold_sources”: names of classes, tutorials or pages)
    and terms of a good answer (“gold_terms”, with | between alternatives; “min_terms” says how many are needed). Questions with
    “out_of_scope”: true should be turned away. “title” is optional.

    Reported are: how often a gold source comes first, among the first 5 and 10; the mean reciprocal rank; the required terms in
    the five shown passages and in the answer, without those that the question itself has; citations that stand for a passage;
    questions turned away, rightly and wrongly; code blocks that ran in the sandbox; and the time of each stage.

    --compare runs the same questions twice. Its table has the change, its 95 % interval and p by a paired bootstrap: above 0.05
    the change may be chance. Give --compare a kept report to measure a change of the program.

    \b
    Examples:
      ml4ep evaluate golden.jsonl --retrieval-only
      ml4ep evaluate golden.jsonl --retrieval-only --compare "dense=0"       is search by meaning worth its time?
      ml4ep evaluate golden.jsonl --retrieval-only --json > before.json      keep a report ...
      ml4ep evaluate golden.jsonl --retrieval-only --compare before.json     ... and compare with it later
      ml4ep evaluate golden.jsonl --model qwen2.5-coder-1.5b                 answers by a language model
    """
    from assistant.evaluation import Configuration, read_golden, read_report, report_json, report_text, retrieval_options
    from assistant.evaluation import compare as compared

    questions = [question for path in golden for question in read_golden(path)]
    ours = retrieval_options(options)
    other: RetrievalOptions | None = None
    results: dict[str, list[Outcome]] = {}
    if compare and ("=" not in compare or Path(compare).is_file()):
        results[Path(compare).name] = read_report(Path(compare))
    elif compare:
        other = retrieval_options(compare, ours)
    asked = None if retrieval_only else _provider(model)
    first = Configuration(options or "now", ours, retrieval_only=retrieval_only, provider=asked)
    configurations = [first]
    if other is not None:
        configurations.append(Configuration(compare, other, retrieval_only=retrieval_only, provider=asked))
    results |= _run(questions, configurations, None if retrieval_only or not code else _runner())
    differences = compared(*list(results.values())[:2]) if len(results) > 1 else []
    if as_json:
        # The report that is new comes first: it is what a later --compare reads.
        newest = dict(sorted(results.items(), key=lambda item: item[0] != first.name))
        console.say_json(report_json(newest, differences))
        return
    console.say(report_text(results, differences, misses=misses))


def _run(questions: list[Golden], configurations: list[Configuration], run_code: RunCode | None) -> dict[str, list[Outcome]]:
    from assistant.evaluation import evaluate as ask_all

    retriever = assistant._retriever()
    results: dict[str, list[Outcome]] = {}
    with console.Bar() as bar:
        for number, configuration in enumerate(configurations):

            def show(fraction: float, text: str, number: int = number) -> None:
                bar((number + fraction) / len(configurations), text)

            results[configuration.name] = ask_all(questions, retriever, configuration, run_code=run_code, progress=show)
    return results


def _runner() -> RunCode | None:
    """What runs the code blocks of answers; None where there is no sandbox for them."""
    from assistant.code_blocks import language_of, whole
    from assistant.evaluation.run import CodeRun
    from mlcore.running import run_code
    from mlcore.toolchain import sandbox
    from portal import settings

    if not sandbox.foreign_isolation().fenced:
        console.note(f"Code is not run: {sandbox.foreign_isolation().detail}")
        return None

    def run(label: str, text: str) -> CodeRun | None:
        language = language_of(label, text)
        if not whole(language, text):
            return None
        found = run_code(language, text, hidden=[settings.DATA_DIR])
        return None if found.status == "not_run" else CodeRun(found.ran, found.error)

    return run


def _provider(model: str) -> Provider | None:
    """The configured provider, with another model of its server where one is named."""
    if model == "none":
        return None
    found = assistant.provider(model)
    if found is None:
        if model:
            raise CommandError("There is no language model server.", hint="Set ML4EP_MODEL_URL, or start the portal: ml4ep up.")
        console.note("No language model answers: answers quote the passages. --retrieval-only leaves them out.")
    return found
