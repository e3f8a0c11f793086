"""The networks that come with the project, by name.

Public names: `SHIPPED` are their names; `load_network` and `load_model` take one of these or a file; `card` says what a shipped
network was trained on, how, and how good it is.
"""

from __future__ import annotations

from pathlib import Path

from mlcore.errors import DataError, InputError
from mlcore.showers import catalogue
from mlcore.showers.models.base import ShowerModel
from mlcore.showers.models.neural import NeuralModel

FOLDER = Path(__file__).parent / "weights"
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.safetensors")))


def path_of(source: Path | str) -> Path:
    """The file of a shipped network, or the file that was named.

    Raises
    ------
    InputError
        There is neither.
    """
    path = FOLDER / f"{source}.safetensors" if str(source) in SHIPPED else Path(source)
    if not path.is_file():
        raise InputError(f"there is no model {source}", hint=f"Give a file, or one of {', '.join(SHIPPED)}.")
    return path


def load_model(source: Path | str) -> ShowerModel:
    """Any model of a file or of a shipped name.

    Raises
    ------
    InputError
        The file is no model of showers.
    """
    return catalogue.load(path_of(source)).model


def load_network(source: Path | str) -> NeuralModel:
    """A network of a file that a training saved, or of a shipped name.

    Raises
    ------
    InputError
        The file is no network of showers.
    """
    model = load_model(source)
    if not isinstance(model, NeuralModel):
        raise InputError(f"{source} is no network but {model.slug}", hint="Give a network that a training saved.")
    return model


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
