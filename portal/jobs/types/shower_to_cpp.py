"""A network of showers as C++: its sampler inside, particles in and voxels or hits out, with a model for Geant4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mlcore.toolchain.sandbox import GIB, Limits
from portal.jobs import shower_pages as pages
from portal.jobs.context import JobContext
from portal.jobs.registry import JobType
from portal.jobs.results import Figure, Note, Result, Table
from portal.jobs.shower_inputs import ModelParams, calorimeter_of, network_of

if TYPE_CHECKING:
    from mlcore.networks import CompileReport

TITLES = {
    "example.cpp": "Ten showers and their time",
    "FastShowers.hh": "A fast-simulation model for Geant4, to start from",
    "README.md": "How to use the network's code",
    "CMakeLists.txt": "Build file with the self-test",
}


class ShowerToCppParams(ModelParams):
    """Which model, called what."""

    first = ("model", "shipped")

    name: str = Field(
        "showers",
        title="Name",
        description="Of the headers and their namespace: small letters, digits and single underscores",
        pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
        max_length=64,
    )
    particles: Literal["electrons", "photons", "both"] = Field(
        "electrons",
        title="Particles",
        description="Those the model was trained on, which it takes from Geant4",
        json_schema_extra={"x-titles": {"electrons": "electrons and positrons", "photons": "photons", "both": "all three"}},
    )
    timed: bool = Field(True, title="Time it", description="Measure the time of a call here")


class ShowerToCpp(JobType[ShowerToCppParams]):
    slug = "shower-to-cpp"
    title = "Shower model to C++"
    summary = "A network of showers as standalone C++ with its sampler, an entry for detector simulations and a model for Geant4"
    duration = "a minute"
    gives = (
        ("name_showers.hpp", "particle in, voxels or hits out"),
        ("FastShowers.hh", "a G4VFastSimulationModel made of it"),
        ("name.zip", "all of it, with the network, its weights, example and self-test"),
        ("name.onnx", "the same as ONNX"),
    )
    phrases = ("shower c++", "shower cpp", "export shower", "shower geant4 c++", "fast simulation c++", "shower onnx")
    versions = ("torch", "onnx", "onnxruntime", "numpy")
    limits = Limits(memory_bytes=8 * GIB, cpu_seconds=3600, wall_seconds=2400)
    Params = ShowerToCppParams

    def name_run(self, params: ShowerToCppParams, files: Mapping[str, str]) -> str:
        return f"{params.model_name(files)} to C++"

    def run(self, context: JobContext, params: ShowerToCppParams) -> Result:
        from mlcore.showers.export import save_cpp, save_onnx

        context.progress(0.02, "Reading the model")
        found, model = network_of(context, params)
        codes = {"electrons": (11, -11), "photons": (22,), "both": (11, -11, 22)}[params.particles]
        made = save_cpp(
            model,
            context.folder,
            name=params.name,
            calorimeter=calorimeter_of(context, params.calorimeter, params.geometry),
            particles=codes,
            timed=params.timed,
            progress=lambda part, what: context.progress(0.05 + 0.85 * part, what[:1].upper() + what[1:]),
            log=context.log,
        )
        context.progress(0.93, "Writing ONNX")
        onnx = context.folder / f"{params.name}.onnx"
        save_onnx(model, onnx)
        header = made.folder / f"{params.name}_showers.hpp"
        for path, kind in (
            (header, "header"),
            (made.folder / "geant4" / "FastShowers.hh", "header"),
            (made.folder / "example.cpp", "source"),
        ):
            context.artifact(path, kind=kind, title=TITLES.get(path.name, "Particle in, voxels or hits out"))
        context.artifact(made.archive, kind="archive", title="All of it")
        context.artifact(onnx, kind="model", title="The model as ONNX: energy, conditions and noise in, showers out")
        report = made.report
        return Result(
            notes=(
                *_agreement(report),
                Note(
                    "act",
                    "The Geant4 model is an example to start from.",
                    "The project's tests compile it against stand-ins for Geant4's headers; it was not run within Geant4.",
                ),
            ),
            figures=(
                Figure("Archive", f"{made.archive.stat().st_size / 1e6:.2f} MB", "all files"),
                Figure("Parameters", pages.count(found.parameters), found.slug),
                *(
                    (Figure("Time", f"{pages.short(1e3 * report.timings[-1].seconds)} ms", "for a shower, one thread"),)
                    if report.timings
                    else ()
                ),
                Figure("Weights", f"{report.weights_bytes / 1e6:.2f} MB", "in a file beside the headers"),
            ),
            tables=(
                Table(
                    "What goes in and out",
                    ("What", "Is"),
                    (
                        ("Calorimeters", ", ".join(found.geometries) or "one"),
                        ("Voxels", " × ".join(map(str, found.voxels.shape))),
                        (
                            "Energies",
                            f"{pages.short(model.config.lowest / 1e3)} to {pages.short(model.config.highest / 1e3)} GeV",
                        ),
                        ("Particles, PDG codes", ", ".join(map(str, codes))),
                        ("Normal random numbers for a shower", pages.count(model.noise_size)),
                    ),
                ),
            ),
            facts={"model": found.slug, "parameters": found.parameters},
        )


def _agreement(report: CompileReport) -> tuple[Note, ...]:
    """How well the C++ agrees with what computed the expected values."""
    if not report.oracle:
        return tuple(Note("warn", "The C++ was not compared.", text) for text in report.notes)
    values = sum(item.n_values for item in report.agreements)
    largest = max((item.max_difference / (1 + item.scale) for item in report.agreements), default=0.0)
    text = f"{pages.count(values)} values of the same noise; they differ by {largest:.1e} of 1 + their size at most."
    return (Note("ok", f"The C++ agrees with {report.oracle}.", text),)
