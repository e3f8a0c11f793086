"""``ml4ep showers``: calorimeter showers on this machine: geometries, full simulation, validation; models: `shower_models`."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from portal.cli import console
from portal.cli.group import new

app = new(
    "Calorimeter showers: simulate, train, sample, measure.\n\n"
    "On this machine; neither a server nor a database is needed. "
    "A CALORIMETER is the name of a shipped one or a YAML file.",
    epilog="""\b
Examples:
  ml4ep showers geometries                                        which calorimeters are there?
  ml4ep showers simulate dataset2 --showers 1000 --out showers    Geant4's showers, to be gone on with at any time
  ml4ep showers inspect showers/shard-00000.h5                    what is in a file?
  ml4ep showers validate pwo --out report                         linearity, resolution, depth, containment
  ml4ep showers train transformer showers/*.h5 --out teacher      a network that makes such showers
  ml4ep showers export dataset2-student --out cpp                 a shipped network as C++
""",
)

Calorimeter = Annotated[str, typer.Argument(metavar="CALORIMETER", help="A name or a YAML file.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.", show_default=False)]
Particle = Annotated[
    Literal["e-", "e+", "gamma", "pi-", "pi+", "proton"],
    typer.Option("--particle", metavar="NAME", help="e-, e+ or gamma; hadrons where data sets are given."),
]
Processes = Annotated[int, typer.Option("--processes", "-j", metavar="N", help="Run at once.")]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of random numbers.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--geant4-data",
        metavar="FOLDER",
        envvar="GEANT4_DATA_DIR",
        help="Geant4's data sets, for its standard physics lists. Without: a data-free electromagnetic list.",
    ),
]
Physics = Annotated[
    Literal["auto", "data-free", "FTFP_BERT", "FTFP_BERT_EMZ", "QGSP_BERT"],
    typer.Option("--physics", metavar="NAME", help="auto, data-free, FTFP_BERT or another of Geant4's lists."),
]


@app.command()
def geometries(as_json: console.AsJson = False) -> None:
    """Show the shipped calorimeters.

    With radiation length, Moliere radius, critical energy and sampling fraction, computed from their layers.

    \b
    Example:
      ml4ep showers geometries
    """
    from mlcore.showers.geometry import CALORIMETERS, to_mapping

    if as_json:
        console.say_json([to_mapping(calorimeter) for calorimeter in CALORIMETERS.values()])
        return
    rows = [
        (
            c.name,
            str(len(c.layers)),
            " x ".join(map(str, c.voxels.shape)),
            f"{c.radiation_lengths:.1f}",
            f"{c.radiation_length:.2f}",
            f"{c.moliere_radius:.2f}",
            f"{c.critical_energy:.2f}",
            f"{100 * c.sampling_fraction:.2f}",
            c.title,
        )
        for c in CALORIMETERS.values()
    ]
    heads = ("name", "layers", "voxels", "depth/X0", "X0/mm", "R_M/mm", "E_c/MeV", "sampled/%", "title")
    console.table(heads, rows, numeric=(1, 3, 4, 5, 6, 7))


@app.command()
def simulate(
    calorimeter: Calorimeter,
    out: Out,
    showers: Annotated[int, typer.Option("--showers", "-n", metavar="N", help="How many.")] = 1000,
    particle: Particle = "e-",
    energy: Annotated[tuple[float, float], typer.Option("--energy", metavar="LOW HIGH", help="GeV.")] = (1.0, 100.0),
    spectrum: Annotated[Literal["log", "flat"], typer.Option("--spectrum", metavar="NAME", help="log or flat.")] = "log",
    theta: Annotated[tuple[float, float], typer.Option("--theta", metavar="LOW HIGH", help="To the beam, degrees.")] = (
        90.0,
        90.0,
    ),
    phi: Annotated[tuple[float, float], typer.Option("--phi", metavar="LOW HIGH", help="Around the beam, degrees.")] = (0.0, 0.0),
    shard: Annotated[int, typer.Option("--shard", metavar="N", help="Showers in a file.")] = 500,
    cut: Annotated[float, typer.Option("--cut", metavar="MM", help="Geant4's range cut.")] = 0.7,
    physics: Physics = "auto",
    seed: Seed = 1,
    processes: Processes = 1,
    data: Data = None,
    as_json: console.AsJson = False,
) -> None:
    """Simulate showers with Geant4.

    Files of the Fast Calorimeter Simulation Challenge's layout. The same command goes on where it was interrupted, and makes more
    where --showers is larger than before.

    \b
    Examples:
      ml4ep showers simulate dataset2 --showers 50000 --out train -j 4
      ml4ep showers simulate cld --particle gamma --theta 50 130 --energy 5 5 --out photons
    """
    from mlcore.showers import fullsim, geometry

    plan = fullsim.Plan(
        geometry.calorimeter(calorimeter),
        showers,
        particle,
        (1e3 * energy[0], 1e3 * energy[1]),
        spectrum,
        (math.radians(theta[0]), math.radians(theta[1])),
        (math.radians(phi[0]), math.radians(phi[1])),
        seed,
        shard,
        cut,
        physics,
    )
    with console.Bar() as bar:
        made = fullsim.produce(plan, out, processes=processes, data=data, progress=bar)
    if as_json:
        console.say_json({"files": made.paths, "made": made.made, "cpu_seconds": made.cpu_seconds})
        return
    console.say(f"{made.made} showers made in {console.seconds(made.cpu_seconds)} of CPU time; {len(made.paths)} files in {out}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file of showers.", show_default=False)],
    calorimeter: Annotated[str, typer.Option("--calorimeter", metavar="NAME", help="Where the file does not say.")] = "",
    as_json: console.AsJson = False,
) -> None:
    """Check a file of showers.

    Every shower is read.

    \b
    Example:
      ml4ep showers inspect dataset_2_1.hdf5 --calorimeter dataset2
    """
    import numpy as np

    from mlcore.showers import geometry
    from mlcore.showers.dataset import ShowerFile

    voxels = geometry.calorimeter(calorimeter).voxels if calorimeter else None
    found = ShowerFile.open(file, voxels, geometry=calorimeter)
    energies, sums, filled = [np.zeros(0)], [np.zeros(0)], 0
    for part in found.batches():
        energies.append(part.energy)
        sums.append(part.showers.sum(axis=(1, 2, 3), dtype=np.float64))
        filled += int((part.showers > 0).sum())
    energy, total = np.concatenate(energies), np.concatenate(sums)
    voxel_count = found.voxels.count if found.voxels else 0
    facts = {
        "layout": found.layout,
        "showers": f"{found.count}",
        "voxels": " x ".join(map(str, found.voxels.shape)) if found.voxels else "",
        "calorimeters": ", ".join(found.geometries),
        "energy, GeV": f"{energy.min() / 1e3:.4g} to {energy.max() / 1e3:.4g}" if len(energy) else "",
        "response": f"{(total / energy).mean():.4g}" if len(energy) else "",
        "voxels hit, %": f"{100 * filled / max(1, found.count * voxel_count):.3g}",
        **{str(key): str(value) for key, value in found.metadata.items()},
    }
    if as_json:
        console.say_json(facts)
    else:
        console.pairs(facts)


@app.command()
def validate(
    calorimeter: Calorimeter,
    out: Out,
    showers: Annotated[int, typer.Option("--showers", "-n", metavar="N", help="At each energy.")] = 200,
    energy: Annotated[list[float] | None, typer.Option("--energy", metavar="GEV", help="Once for each.")] = None,
    particle: Particle = "e-",
    physics: Physics = "auto",
    seed: Seed = 1,
    processes: Processes = 1,
    data: Data = None,
    as_json: console.AsJson = False,
) -> None:
    """Compare the full simulation with theory.

    Writes report.pdf and report.json.

    \b
    Example:
      ml4ep showers validate dataset2 --energy 1 --energy 10 --energy 50 --out report
    """
    import json

    from mlcore.showers import fullsim, geometry

    plan = fullsim.Plan(
        geometry.calorimeter(calorimeter),
        showers,
        particle,
        seed=seed,
        shard=max(10, -(-showers // processes)),
        physics=physics,
    )
    with console.Bar() as bar:
        found = fullsim.validate(plan, out, energies=energy or (1, 3, 10, 30, 100), processes=processes, data=data, progress=bar)
    found.draw(out / "report.pdf")
    (out / "report.json").write_text(json.dumps(found.to_json(), indent=1), encoding="utf-8")
    if as_json:
        console.say_json(found.to_json())
        return
    console.say(f"{found.particle} in {found.calorimeter}: {found.physics}")
    rows = [
        (
            f"{p.energy:g}",
            f"{p.response:.5f}",
            f"{100 * p.resolution:.2f}",
            f"{p.depth:.2f}",
            f"{p.expected_depth:.2f}",
            f"{100 * p.containment:.1f}",
            f"{p.radius:.2f}",
        )
        for p in found.points
    ]
    heads = ("E/GeV", "response", "resolution/%", "maximum/X0", "expected/X0", "in voxels/%", "R90/R_M")
    console.table(heads, rows, numeric=range(len(heads)))
    facts = asdict(found)
    console.pairs(
        {
            "not linear by": f"{100 * facts['nonlinearity']:.2f} %",
            "resolution": f"{100 * facts['stochastic']:.1f} %/sqrt(E) (+) {100 * facts['constant']:.2f} %",
            "maximum off by": f"{facts['depth_difference']:.2f} X0 at most",
        }
    )
