"""``ml4ep batches``: ROOT files and tables for training, on this machine: look into them, measure, convert to shards."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from portal.cli import console
from portal.cli.errors import CommandError
from portal.cli.group import new

if TYPE_CHECKING:
    from mlcore.batches import Skipped
    from mlcore.batches.conversion.joining import LeftOut

app = new(
    "Training data (ROOT): inspect, stats, profile, convert, bench.\n\n"
    "ROOT files, Parquet, HDF5 and NumPy, on this machine; neither a server nor a database is needed. "
    "A FILE is a path, file.root:tree, a folder, a glob in quotes or a URL; several make one source.",
    epilog="""\b
Examples:
  ml4ep batches inspect events.root                          what columns are there?
  ml4ep batches profile events.root                          why is it slow to read?
  ml4ep batches stats events.root --filter "pt > 20"         what do they hold?
  ml4ep batches convert *.root --target label --split train=0.8 --split validation=0.2 --out shards
  ml4ep batches bench events.root                            how fast are epochs?
""",
)

Files = Annotated[list[str], typer.Argument(metavar="FILE...", help="One or several files.", show_default=False)]
Tree = Annotated[str, typer.Option("--tree", metavar="NAME", help="TTree, RNTuple or HDF5 group, where a file has several.")]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", "-c", metavar="NAME", help="A feature; once for each. Default: every column that is a number."),
]
Target = Annotated[str, typer.Option("--target", metavar="NAME", help="The column to be learnt.")]
Weight = Annotated[str, typer.Option("--weight", metavar="NAME", help="The column of weights.")]
Filter = Annotated[
    str, typer.Option("--filter", "-f", metavar="EXPRESSION", help="Which rows are kept, such as “pt > 20 && abs(eta) < 2.4”.")
]
Define = Annotated[
    list[str] | None,
    typer.Option("--define", "-d", metavar="NAME=EXPRESSION", help="A new column, such as “r=sqrt(x*x + y*y)”; once for each."),
]
Pad = Annotated[
    list[str] | None,
    typer.Option("--pad", metavar="NAME=N", help="A jagged column, and how many values each row gets; once for each."),
]
Memory = Annotated[str, typer.Option("--memory", metavar="SIZE", help="What rows may take.")]
OnError = Annotated[
    Literal["raise", "skip"],
    typer.Option("--on-error", help="Whether rows and files that cannot be read end it, or are left out and counted."),
]
Threads = Annotated[int | None, typer.Option("--threads", metavar="N", help="Default: as many as processors.")]


@app.command()
def inspect(files: Files, tree: Tree = "", as_json: console.AsJson = False) -> None:
    """Show columns, types, rows.

    Only metadata is read. A column that can be no feature says why.

    \b
    Example:
      ml4ep batches inspect "data/*.root:Events"
    """
    from mlcore.batches import open_source

    with console.Bar() as bar:
        bar(0.1, "Reading the metadata")
        source = open_source(_source(files), tree=tree or None)
    if as_json:
        tables = [{"name": part.name, "table": part.table, "rows": part.rows} for part in source.parts]
        columns = [
            {
                "name": column.name,
                "dtype": None if column.dtype is None else column.dtype.name,
                "shape": list(column.shape),
                "jagged": column.jagged,
                "type": column.typename,
                "why_not": column.why_not,
            }
            for column in source.schema.values()
        ]
        console.say_json({"rows": source.rows, "tables": tables, "columns": columns})
        return
    console.table(("Table", "Rows"), [(part.name, f"{part.rows:,}") for part in source.parts], numeric=(1,))
    console.say()
    rows = [
        (
            column.name,
            "—" if column.dtype is None else column.dtype.name,
            "".join(f"[{size}]" for size in column.shape),
            "jagged" if column.jagged else "",
            column.typename,
            column.why_not,
        )
        for column in source.schema.values()
    ]
    console.table(("Column", "Type", "Shape", "", "In the file", "No feature, because"), rows)


@app.command()
def stats(
    files: Files,
    column: Columns = None,
    target: Target = "",
    weight: Weight = "",
    filter_: Filter = "",
    define: Define = None,
    pad: Pad = None,
    tree: Tree = "",
    on_error: OnError = "raise",
    memory: Memory = "256 MB",
    threads: Threads = None,
    as_json: console.AsJson = False,
) -> None:
    """Say what columns hold: means, quantiles, gaps.

    In one pass over all rows that are kept; of each class too, where --target has few values.

    \b
    Examples:
      ml4ep batches stats events.root
      ml4ep batches stats events.root -c pt -c eta --target label --filter "njet >= 2"
    """
    from mlcore.batches import BatchLoader

    with console.Bar() as bar, _counted():
        loader = BatchLoader(
            _source(files),
            column or None,
            target=target or (),
            weight=weight or (),
            filter=filter_ or None,
            define=dict(_pairs(define, "--define")),
            pad=_numbers(pad, "--pad"),
            tree=tree or None,
            on_error=on_error,
            memory=memory,
            threads=threads,
            progress=lambda done, total: bar(done / max(1, total), "Reading"),
        )
        found = loader.statistics(weighted=bool(weight))
    if as_json:
        print(json.dumps(json.loads(found.to_json()) | {"skipped": _told(loader.skipped)}))
        return
    console.say(found.table())
    _say_skipped(loader.skipped)


@app.command()
def profile(
    files: Files,
    seconds: Annotated[float, typer.Option("--seconds", metavar="X", help="For which each table is read; 0 reads none.")] = 2.0,
    as_json: console.AsJson = False,
) -> None:
    """Tell compression, baskets, clusters, speed.

    And what would make a file faster to read. For ROOT (TTree, RNTuple), Parquet and HDF5 files.

    \b
    Example:
      ml4ep batches profile events.root
    """
    from mlcore.batches.exploration.profile import profile as look

    found = []
    with console.Bar() as bar:
        for number, name in enumerate(files):
            path = Path(name)
            if not path.is_file():
                raise CommandError(f"There is no file {name}.", hint="Give the path of a ROOT, Parquet or HDF5 file.")

            def progress(fraction: float, text: str, number: int = number) -> None:
                bar((number + fraction) / len(files), text)

            found.append(look(path, seconds=seconds, progress=progress))
    if as_json:
        console.say_json([one.to_json() for one in found] if len(found) > 1 else found[0].to_json())
        return
    from portal.cli.results import show_result
    from portal.jobs.types.profile_file import summary

    for one in found:
        if len(found) > 1:
            console.say(f"\n{one.name}")
        show_result(summary(one).to_json())


@app.command()
def convert(
    files: Files,
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Where the shards go; one that was cut off goes on.", show_default=False
        ),
    ],
    format_: Annotated[
        Literal["parquet", "hdf5", "numpy", "tfrecord", "webdataset"], typer.Option("--format", help="Of the shards.")
    ] = "parquet",
    column: Columns = None,
    target: Target = "",
    weight: Weight = "",
    filter_: Filter = "",
    define: Define = None,
    pad: Pad = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", metavar="NAME=SHARE", help="Such as train=0.8; once for each. Default: one set of all rows."),
    ] = None,
    split_by: Annotated[
        str, typer.Option("--split-by", metavar="NAME", help="Rows that are equal in this column land on one side.")
    ] = "",
    rows_per_shard: Annotated[int, typer.Option("--rows-per-shard", metavar="N", help="Of each file but the last.")] = 250_000,
    shuffle: Annotated[bool, typer.Option("--shuffle/--no-shuffle", help="Whether rows come in a random order.")] = True,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the order; default: a new one.")] = None,
    code: Annotated[bool, typer.Option("--code/--no-code", help="Write code beside the shards that reads them.")] = True,
    tree: Tree = "",
    on_error: OnError = "raise",
    memory: Memory = "512 MB",
    threads: Threads = None,
    dask: Annotated[
        str,
        typer.Option(
            "--dask", metavar="ADDRESS", help="Scheduler of a Dask cluster that does the work, such as tcp://host:8786."
        ),
    ] = "",
    as_json: console.AsJson = False,
) -> None:
    """Write shuffled shards with a manifest.

    Each row that is kept is in one shard, once, at a random place among all rows of all files. What was cut off goes on when the
    same command is given again.

    \b
    Examples:
      ml4ep batches convert events.root --target label --out shards
      ml4ep batches convert *.root --format tfrecord --filter "pt > 20" --split train=0.9 --split test=0.1 --out shards
    """
    from mlcore.batches.conversion.convert import convert as write
    from mlcore.batches.conversion.snippets import frameworks, snippet

    client = _dask_client(dask) if dask else None
    begun = time.monotonic()
    try:
        with console.Bar() as bar, _counted():

            def progress(done: int, total: int) -> None:
                bar(done / max(1, total), "Reading" if done * 2 <= total else "Writing")

            made = write(
                _source(files),
                out,
                format=format_,
                columns=column or None,
                target=target or (),
                weight=weight or (),
                filter=filter_ or None,
                define=dict(_pairs(define, "--define")),
                pad=_numbers(pad, "--pad"),
                split={name: _share(text) for name, text in _pairs(split, "--split")},
                split_by=split_by or (),
                rows_per_shard=rows_per_shard,
                shuffle=shuffle,
                seed=seed,
                on_error=on_error,
                tree=tree or None,
                memory=memory,
                threads=threads,
                client=client,
                progress=progress,
            )
    finally:
        if client is not None:
            client.close()
    written = []
    for framework in frameworks(made) if code else ():
        path = out / f"train_{framework}.py"
        path.write_text(snippet(made, framework), encoding="utf-8")
        written.append(path.name)
    if as_json:
        console.say_json(made.to_json() | {"folder": str(out), "code": written})
        return
    told = made.to_json()
    size = sum(shard.bytes for shard in made.shards)
    console.pairs(
        {
            "Rows": f"{made.rows:,} of {made.rows_read:,}",
            "Splits": ", ".join(f"{name} {rows:,}" for name, rows in told["splits"].items()),
            "Shards": f"{len(made.shards)} in {out}, {console.size(size)}",
            "Seed": str(made.recipe.seed) if made.recipe.shuffle else "none, the order is that of the files",
            "Time": console.seconds(time.monotonic() - begun),
        }
    )
    _say_skipped(made.skipped)
    if written:
        console.say()
        console.paragraph(f"Code that reads them: {', '.join(str(out / name) for name in written)}")


@app.command()
def bench(
    files: Files,
    column: Columns = None,
    filter_: Filter = "",
    define: Define = None,
    pad: Pad = None,
    epochs: Annotated[int, typer.Option("--epochs", metavar="N", min=2, max=1000, help="The first one reads the files.")] = 3,
    batch_size: Annotated[int, typer.Option("--batch-size", metavar="N", help="Rows of a batch.")] = 1024,
    tree: Tree = "",
    on_error: OnError = "raise",
    memory: Memory = "256 MB",
    threads: Threads = None,
    as_json: console.AsJson = False,
) -> None:
    """Time epochs of batches on this machine.

    Every row comes once an epoch, shuffled over all files; the rows of each epoch are counted.

    \b
    Example:
      ml4ep batches bench events.root --memory "1 GB"
    """
    from mlcore.batches import BatchLoader

    found: list[dict[str, float]] = []
    with console.Bar() as bar, _counted():
        loader = BatchLoader(
            _source(files),
            column or None,
            filter=filter_ or None,
            define=dict(_pairs(define, "--define")),
            pad=_numbers(pad, "--pad"),
            batch_size=batch_size,
            seed=1,
            tree=tree or None,
            on_error=on_error,
            memory=memory,
            threads=threads,
        )
        for epoch in range(epochs):
            bar(epoch / epochs, f"Epoch {epoch + 1}")
            wall, cpu, rows, size = time.perf_counter(), time.process_time(), 0, 0
            for batch in loader.numpy():
                x = batch if not isinstance(batch, tuple) else batch[0]
                rows += len(x)
                size += x.nbytes
            found.append(
                {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu, "rows": rows, "bytes": size}
            )
        mode = loader.mode
    if as_json:
        console.say_json({"mode": mode, "features": len(loader.feature_names), "epochs": found, "skipped": _told(loader.skipped)})
        return
    where = {"memory": "in memory", "spill": "on disk between epochs", "stream": "read anew each epoch"}[mode]
    console.paragraph(f"{len(loader.feature_names)} features, batches of {batch_size:,} rows; rows are {where}.")
    console.table(
        ("Epoch", "Rows", "Seconds", "CPU seconds", "Rows a second", "Read"),
        [
            (
                str(number + 1),
                f"{one['rows']:,.0f}",
                f"{one['seconds']:.3f}",
                f"{one['cpu_seconds']:.3f}",
                f"{one['rows'] / max(1e-9, one['seconds']):,.0f}",
                f"{console.size(one['bytes'] / max(1e-9, one['seconds']))}/s",
            )
            for number, one in enumerate(found)
        ],
        numeric=(0, 1, 2, 3, 4, 5),
    )
    _say_skipped(loader.skipped)


@contextmanager
def _counted() -> Iterator[None]:
    """What is skipped is said in the end, not by a warning."""
    from mlcore.batches import SkippedRowsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedRowsWarning)
        yield


def _told(skipped: Skipped | LeftOut) -> dict[str, Any]:
    return {"rows": skipped.rows, "files": dict(skipped.files), "messages": list(skipped.messages)}


def _say_skipped(skipped: Skipped | LeftOut) -> None:
    if skipped:
        from mlcore.batches.skipping import skipping

        console.say()
        console.paragraph(skipping(skipped.rows, skipped.files, skipped.messages))


def _source(files: Sequence[str]) -> Any:
    return files[0] if len(files) == 1 else list(files)


def _pairs(texts: Iterable[str] | None, option: str) -> list[tuple[str, str]]:
    found = []
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (name and equals and value):
            raise CommandError(f"{option}: “{text}” is not of the form NAME=VALUE.", hint=f"Such as {option} name=value.")
        found.append((name, value))
    return found


def _numbers(texts: Iterable[str] | None, option: str) -> dict[str, int]:
    found = {}
    for name, value in _pairs(texts, option):
        if not (value.isascii() and value.isdigit()):
            raise CommandError(f"{option}: “{value}” is no whole number.", hint=f"Such as {option} {name}=4.")
        found[name] = int(value)
    return found


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise CommandError(f"--split: “{text}” is no number.", hint="Such as --split train=0.8.") from None


def _dask_client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise CommandError("Dask is not installed.", hint="pip install 'ml4ep-portal[dask]'") from None
    try:
        return Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise CommandError(f"No Dask scheduler answers at {address}: {error}", hint="Start one: dask scheduler") from error
