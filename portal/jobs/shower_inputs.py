"""What the job types about showers take: calorimeters, datasets, models, as parameters and as what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

import mlcore
from portal.jobs.context import JobContext
from portal.jobs.registry import Params, file_field, files_field

if TYPE_CHECKING:
    from mlcore.showers.catalogue import Loaded
    from mlcore.showers.dataset import Records
    from mlcore.showers.geometry import Calorimeter
    from mlcore.showers.models.neural import NeuralModel
    from mlcore.showers.voxels import Voxels

SHIPPED_FOLDER = Path(mlcore.__file__).parent / "showers" / "weights"
SHIPPED = tuple(sorted(path.stem for path in SHIPPED_FOLDER.glob("*.safetensors")))
"""Names of the networks that come with the project, as of `mlcore.showers.shipped`, which the web process does not load."""
CalorimeterName = Literal[
    "dataset2",
    "dataset3",
    "par04-siw",
    "par04-scipb",
    "odd",
    "cld",
    "hgcal",
    "pwo",
    "pwo-oriented",
    "w-oriented",
]
"""Those of `mlcore.showers.geometry.CALORIMETERS`, which a test compares: the web process does not load them."""
Spectrum = Literal["log", "flat"]
CALORIMETER_TITLES: dict[str, str] = {
    "dataset2": "CaloChallenge dataset 2, 45 × 16 × 9",
    "dataset3": "CaloChallenge dataset 3, 45 × 50 × 18",
    "par04-siw": "Par04, tungsten and silicon",
    "par04-scipb": "Par04, lead and scintillator",
    "odd": "Open Data Detector-like",
    "cld": "FCC-ee CLD-like",
    "hgcal": "HGCal-like, 47 layers",
    "pwo": "Lead tungstate crystal",
    "pwo-oriented": "Oriented lead tungstate crystal",
    "w-oriented": "Oriented tungsten and silicon",
}
LAST = ("test", "most", "seed", "calorimeter", "geometry")
GEOMETRY_KINDS = ("text",)
GEOMETRY_HELP = """Instead of a shipped calorimeter, your own as YAML:

```yaml
name: mine
layers:
  - repeat: 30
    slabs:
      - {material: W, thickness: 3.0}
      - {material: Si, thickness: 0.5, sensitive: true}
voxels: {layers: 30, layer_depth: 3.5, angles: 16, rings: 9, ring_width: 5.0}
```
"""
SECONDS_PER_GEV = 5.5e-3
"""CPU time of the full simulation of an electromagnetic shower on one core, about."""


def calorimeter_field(default: str | None, *, description: str) -> Any:
    """A choice of the shipped calorimeters; None stands for what the files say."""
    extra: dict[str, Any] = {"x-titles": CALORIMETER_TITLES}
    return Field(default, title="Calorimeter", description=description, json_schema_extra=extra)


def geometry_field(description: str = "Your own calorimeter instead, a YAML file") -> Any:
    """A file that describes a calorimeter."""
    return file_field(
        title="Geometry file", description=description, kinds=GEOMETRY_KINDS, optional=True, side_help=GEOMETRY_HELP
    )


def energy_field(default: float, title: str) -> Any:
    """An end of a range of incident energies, GeV."""
    extra: dict[str, Any] = {"x-unit": "GeV"}
    return Field(default, ge=0.001, le=1e5, title=title, description="Of the particles", json_schema_extra=extra)


def spectrum_field() -> Any:
    """How energies lie in their range."""
    extra: dict[str, Any] = {"x-titles": {"log": "the energy's logarithm", "flat": "the energy"}}
    return Field("log", title="Spectrum", description="What is drawn evenly between them", json_schema_extra=extra)


def check_energies(lowest: float, highest: float) -> None:
    """ValueError where a range of energies, GeV, ends before it begins."""
    if lowest > highest:
        raise ValueError(f"The lowest energy, {lowest:g} GeV, is above the highest, {highest:g} GeV.")


def dataset_field(title: str, description: str, *, optional: bool = False, side_help: str = "") -> Any:
    """One or several files of showers."""
    return files_field(title=title, description=description, kinds=("hdf5",), optional=optional, side_help=side_help)


def model_field(description: str = "From a training or a fit", *, optional: bool = False) -> Any:
    """A file of a model of showers."""
    return file_field(title="Model", description=description, kinds=("shower-model",), optional=optional)


class GridParams(Params):
    """What datasets need that do not say which voxels they have."""

    calorimeter: CalorimeterName | None = calorimeter_field(
        None, description="Where the files do not say it themselves, such as those of the CaloChallenge"
    )
    geometry: str | None = geometry_field("Instead: a calorimeter as YAML, or the challenge's binning as XML")

    first: ClassVar[tuple[str, ...]] = ("files",)
    """Parameters that come first on every door; some that are most often left out come last."""

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """In an order that suits people, whichever class a parameter is inherited from."""
        schema = super().model_json_schema(*args, **options)
        found = schema["properties"]
        names = [*cls.first, *(name for name in found if name not in (*cls.first, *LAST)), *LAST]
        schema["properties"] = {name: found[name] for name in names if name in found}
        return schema


class ModelParams(GridParams):
    """Which model of showers: one of a file, or one that comes with the project."""

    model: str | None = model_field(optional=True)
    shipped: str | None = Field(
        None,
        title="Or a shipped model",
        description="A network that comes with the project",
        json_schema_extra={"enum": list(SHIPPED)},
    )

    @field_validator("shipped")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        if name is not None and name not in SHIPPED:
            raise ValueError(f"No model called {name} comes with the project; there are {', '.join(SHIPPED) or 'none'}.")
        return name

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.needs_model and bool(self.model) == bool(self.shipped):
            raise ValueError(
                "Give one model: a file, or one that comes with the project." if SHIPPED else "Give the file of a model."
            )
        return self

    @property
    def needs_model(self) -> bool:
        """Whether there has to be one."""
        return True

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Without the choice of a shipped one where there is none."""
        schema = super().model_json_schema(*args, **options)
        if not SHIPPED:
            del schema["properties"]["shipped"]
        return schema

    def model_name(self, files: Mapping[str, str]) -> str:
        """What people call it."""
        return self.shipped or files.get(self.model or "") or "a model"


def calorimeter_of(context: JobContext, name: str | None, geometry: str | None) -> Calorimeter | None:
    """The calorimeter that parameters name; None where they name none.

    Raises
    ------
    InputError
        The file describes none.
    """
    from mlcore.showers import geometry as calorimeters

    if geometry:
        return calorimeters.read(context.file(geometry))
    return calorimeters.CALORIMETERS[name] if name else None


def grid_of(context: JobContext, params: GridParams) -> tuple[Voxels | None, str]:
    """Voxels for files that do not say theirs, and the name of the calorimeter."""
    from mlcore.showers.dataset import binning

    if params.geometry and _is_xml(context.file(params.geometry)):
        return binning.read(context.file(params.geometry)), ""
    found = calorimeter_of(context, params.calorimeter, params.geometry)
    return (found.voxels, found.name) if found else (None, "")


def _is_xml(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(200).lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<")


def streamed(context: JobContext, files: Sequence[str], params: GridParams, size: int = 1024) -> Iterator[Records]:
    """The showers of files, piece by piece."""
    from mlcore.showers import dataset

    voxels, name = grid_of(context, params)
    return dataset.stream([context.file(file) for file in files], voxels, size=size, geometry=name)


def records_of(context: JobContext, files: Sequence[str], params: GridParams, *, most: int = 0) -> Records:
    """The first ``most`` showers of files, in memory; 0 for all.

    Raises
    ------
    InputError
        A file holds no showers that can be used; the message names it.
    """
    from mlcore.errors import InputError
    from mlcore.showers.dataset import Records

    parts: list[Records] = []
    count = 0
    for part in streamed(context, files, params):
        parts.append(part[: most - count] if most else part)
        count += len(parts[-1])
        if most and count >= most:
            break
    if not count:
        raise InputError("there are no showers in the files", hint="Give files of at least one.", code="showers.few")
    return Records.joined(parts)


def origin_of(context: JobContext, files: Sequence[str]) -> dict[str, Any]:
    """What the first of some files says of where its showers are from."""
    from mlcore.showers.dataset import ShowerFile

    return dict(ShowerFile.open(context.file(files[0])).metadata) if files else {}


def simulation_ms(context: JobContext, files: Sequence[str]) -> float | None:
    """CPU time that the full simulation took for a shower of these files, where they say so, ms."""
    from mlcore.showers.dataset import ShowerFile

    seconds, count = 0.0, 0
    for file in files:
        found = ShowerFile.open(context.file(file))
        spent = found.metadata.get("cpu_seconds")
        if not isinstance(spent, int | float) or "simulation" not in found.metadata:
            return None
        seconds, count = seconds + float(spent), count + found.count
    return 1e3 * seconds / count if count and seconds > 0 else None


def loaded(context: JobContext, params: ModelParams) -> Loaded:
    """The model that parameters name."""
    from mlcore.showers.catalogue import load

    return load(context.file(params.model) if params.model else SHIPPED_FOLDER / f"{params.shipped}.safetensors")


def name_of(context: JobContext, params: ModelParams) -> str:
    """What its owner calls the model's file, or the name of a shipped one."""
    return context.name(params.model) if params.model else str(params.shipped)


def network_of(context: JobContext, params: ModelParams) -> tuple[Loaded, NeuralModel]:
    """The network in a file of a model.

    Raises
    ------
    InputError
        The model is none, but formulas or tables.
    """
    from mlcore.errors import InputError
    from mlcore.showers.models.neural import NeuralModel

    found = loaded(context, params)
    if not isinstance(found.model, NeuralModel):
        raise InputError(
            f"{name_of(context, params)} is a model {found.slug}, which is no network",
            hint="Give a VAE, a transformer or a distilled one. GFlash is C++ already: kernels/showers/gflash.hpp.",
            code="showers.model",
        )
    return found, found.model


def seconds_to_simulate(showers: int, lowest: float, highest: float, *, logarithmic: bool = True) -> float:
    """CPU time of a full simulation, about, on one core; energies in GeV."""
    import math

    mean = (lowest + highest) / 2
    if logarithmic and highest > lowest * 1.001:
        mean = (highest - lowest) / math.log(highest / lowest)
    return showers * (2e-3 + SECONDS_PER_GEV * mean)
