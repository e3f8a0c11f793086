"""Models by their files, and the networks that come with the project.

Public names: `load_network` and `load_model` take a file or the name of a shipped network; `SHIPPED` are those names; `card` says
what one was trained on, how, and how good it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from mlcore.errors import DataError, InputError
from mlcore.showers.models.base import ShowerModel
from mlcore.showers.models.distilled import Distilled
from mlcore.showers.models.gflash import GFlash
from mlcore.showers.models.neural import NeuralModel, read_tensors
from mlcore.showers.models.parametrised import Parametrised
from mlcore.showers.models.transformer import Transformer
from mlcore.showers.models.vae import VAE

NETWORKS: dict[str, type[NeuralModel]] = {kind.slug: kind for kind in (VAE, Transformer, Distilled)}
FOLDER = Path(__file__).parent / "weights"
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def load_network(source: Path | str) -> NeuralModel:
    """A network of a file that a training saved, or of a shipped name.

    Raises
    ------
    InputError
        The file is no network of showers.
    """
    path = FOLDER / f"{source}.safetensors" if str(source) in SHIPPED else Path(source)
    if not path.is_file():
        raise InputError(f"there is no model {source}", hint=f"Give a file, or one of {', '.join(SHIPPED) or 'no shipped ones'}.")
    tensors, description = read_tensors(path)
    kind = description.get("model", "")
    if kind not in NETWORKS:
        raise InputError(f"{path.name} holds {kind or 'no model'}", hint=f"Known networks are {', '.join(NETWORKS)}.")
    return NETWORKS[kind].from_parts(description, tensors, path)


def load_model(source: Path | str) -> ShowerModel:
    """Any model: GFlash (``.json``), the parametrised one (``.npz``), or a network.

    Raises
    ------
    InputError
        The file is no model of showers.
    """
    suffix = Path(source).suffix
    if suffix == ".json":
        return GFlash.load(source)
    if suffix == ".npz":
        return Parametrised.load(source)
    return cast("ShowerModel", load_network(source))


def card(name: str) -> str:
    """What is known about a shipped network, as Markdown.

    Raises
    ------
    DataError
        There is none of that name.
    """
    if name not in SHIPPED:
        raise DataError.missing("network", name, SHIPPED, where="the shipped ones")
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
