"""Voxels in the XML form of the Fast Calorimeter Simulation Challenge.

::

    <Bins>
      <Bin pid="11" name="electron">
        <Layer id="0" r_edges="0,4.65,9.3" n_bin_alpha="16"/>
        ...

The challenge's files give no depths. Written ones do, as ``z_edges`` on the Bin, which its tools pass over.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from mlcore.errors import DataError, InputError, UnsupportedFeatureError
from mlcore.showers.voxels import Voxels

MOST_BYTES = 4 << 20
NAMES = {11: "electron", -11: "positron", 22: "photon", 211: "pion"}


def read(path: Path, *, particle: str = "", depth: float = 1.0) -> Voxels:
    """Voxels from a binning file.

    Parameters
    ----------
    particle
        Name of the Bin to take; not needed where there is only one.
    depth
        Of each layer in mm, where the file does not say.

    Raises
    ------
    InputError
        The file is not such XML, or its edges do not ascend.
    DataError
        There is no Bin for that particle.
    UnsupportedFeatureError
        The layers have different bins, as in the challenge's dataset 1.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} is larger than a binning can be", hint=f"At most {MOST_BYTES} bytes are read.")
        text = path.read_text(encoding="utf-8")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise InputError(f"{path.name} declares XML entities", hint="Remove them: a binning needs none.")
        root = ET.fromstring(text)  # noqa: S314  entities are refused above
    except (OSError, UnicodeDecodeError, ET.ParseError) as error:
        raise InputError(f"{path.name} cannot be read as XML: {error}", hint="Give the challenge's binning file.") from error
    bins = {entry.get("name", entry.get("pid", "")): entry for entry in root.iter("Bin")}
    if not bins:
        raise InputError(f"{path.name} has no <Bin>", hint="Give the challenge's binning file.")
    if not particle and len(bins) > 1:
        raise InputError(f"{path.name} has bins of several particles: {', '.join(bins)}", hint="Name one of them.")
    if particle and particle not in bins:
        raise DataError.missing("binning of the particle", particle, bins, where=path.name)
    chosen = bins[particle] if particle else next(iter(bins.values()))
    layers = sorted(chosen.iter("Layer"), key=lambda layer: _numbers(layer, "id", path)[0])
    if not layers:
        raise InputError(f"{path.name} has no <Layer>", hint="Give the challenge's binning file.")
    forms = {(_numbers(layer, "r_edges", path), int(_numbers(layer, "n_bin_alpha", path)[0])) for layer in layers}
    if len(forms) > 1:
        raise UnsupportedFeatureError(
            f"the {len(layers)} layers of {path.name} have {len(forms)} different binnings",
            hint="Layers with the same rings and angles are supported, as in datasets 2 and 3.",
            code="showers.binning",
        )
    radii, angles = forms.pop()
    depths = (
        _numbers(chosen, "z_edges", path) if chosen.get("z_edges") else tuple(float(i * depth) for i in range(len(layers) + 1))
    )
    if len(depths) != len(layers) + 1:
        raise InputError(
            f"{path.name} has {len(layers)} layers and {len(depths)} edges of depth", hint="Give one edge more than layers."
        )
    return Voxels(depths, angles, radii)


def write(voxels: Voxels, path: Path, *, particle: int = 11) -> None:
    """Write the voxels as a binning file of the challenge."""
    root = ET.Element("Bins")
    edges = ",".join(format(edge, ".12g") for edge in voxels.depths)
    entry = ET.SubElement(root, "Bin", pid=str(particle), name=NAMES.get(particle, str(particle)), z_edges=edges)
    radii = ",".join(format(edge, ".12g") for edge in voxels.radii)
    for number in range(voxels.shape[0]):
        ET.SubElement(entry, "Layer", id=str(number), r_edges=radii, n_bin_alpha=str(voxels.angles))
    tree = ET.ElementTree(root)
    ET.indent(tree)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _numbers(element: ET.Element, name: str, path: Path) -> tuple[float, ...]:
    text = element.get(name)
    if text is None:
        raise InputError(f"a <{element.tag}> of {path.name} has no {name}", hint="Give the challenge's binning file.")
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise InputError(
            f"{name} of a <{element.tag}> of {path.name} is {text!r}", hint="It has to be numbers with commas."
        ) from error
