"""Calorimeters from YAML files.

::

    name: mine
    title: Copper and silicon
    materials:
      brass: {density: 8.5, fractions: {Cu: 1.0}}
    layers:
      - repeat: 30
        slabs:
          - {material: brass, thickness: 3.0}
          - {material: Si, thickness: 0.5, sensitive: true}
    voxels: {layers: 30, layer_depth: 3.5, angles: 16, rings: 9, ring_width: 5.0}
    threshold: 0.02
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from mlcore.errors import DataError, InputError
from mlcore.showers.geometry.calorimeter import Calorimeter, Layer, Slab
from mlcore.showers.geometry.crystals import Orientation
from mlcore.showers.geometry.hexagons import Hexagons
from mlcore.showers.geometry.materials import MATERIALS, Material
from mlcore.showers.geometry.shipped import CALORIMETERS, find
from mlcore.showers.voxels import Voxels

KEYS = {"name", "title", "materials", "layers", "voxels", "threshold", "hexagons", "orientation", "notes"}
MOST_LAYERS = 2000
MOST_BYTES = 1 << 20


def calorimeter(name: str | Path) -> Calorimeter:
    """A shipped calorimeter by name, or one from a file that ends in ``.yaml`` or ``.yml``."""
    if str(name) not in CALORIMETERS and Path(name).suffix in {".yaml", ".yml"}:
        return read(Path(name))
    return find(str(name))


def read(path: Path) -> Calorimeter:
    """A calorimeter from a file.

    Raises
    ------
    InputError
        It is no YAML, or something in it is not as it has to be.
    DataError
        A material or key is not known.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path.name} has more than {MOST_BYTES} bytes", hint="Write equal layers once, with repeat.")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(
            f"{path.name} cannot be read as YAML: {error}", hint="See docs/reference/showers.md for an example."
        ) from error
    return from_mapping(content, where=path.name)


def from_mapping(content: Any, *, where: str = "the geometry") -> Calorimeter:
    """A calorimeter from what a YAML file holds."""
    given = _mapping(content, where)
    _known(given, KEYS, where)
    materials = dict(MATERIALS)
    for name, description in _mapping(given.get("materials", {}), f"{where}: materials").items():
        place = f"{where}: material {name}"
        fields = _mapping(description, place)
        _known(fields, {"density", "fractions"}, place)
        fractions = _mapping(_needed(fields, "fractions", place), place)
        materials[str(name)] = Material(
            str(name),
            tuple((str(k), _number(v, place)) for k, v in fractions.items()),
            _number(_needed(fields, "density", place), place),
        )
    layers: list[Layer] = []
    for number, entry in enumerate(_list(_needed(given, "layers", where), f"{where}: layers")):
        place = f"{where}: layer group {number}"
        fields = _mapping(entry, place)
        _known(fields, {"repeat", "slabs"}, place)
        slabs = tuple(_slab(slab, materials, place) for slab in _list(_needed(fields, "slabs", place), place))
        repeat = _whole(fields.get("repeat", 1), place)
        if len(layers) + repeat > MOST_LAYERS:
            raise InputError(f"{where} has more than {MOST_LAYERS} layers", hint="Give fewer.")
        layers += [slabs] * repeat
    optional: dict[str, Any] = {}
    if (hexagons := given.get("hexagons")) is not None:
        fields = _mapping(hexagons, f"{where}: hexagons")
        _known(fields, {"width"}, f"{where}: hexagons")
        optional["hexagons"] = Hexagons(_number(_needed(fields, "width", f"{where}: hexagons"), f"{where}: hexagons"))
    if (orientation := given.get("orientation")) is not None:
        place = f"{where}: orientation"
        fields = _mapping(orientation, place)
        _known(fields, {"axis", "onset", "anchor", "factor", "width"}, place)
        numbers = {key: _number(_needed(fields, key, place), place) for key in ("onset", "anchor", "factor", "width")}
        optional["orientation"] = Orientation(str(_needed(fields, "axis", place)), **numbers)
    name = str(_needed(given, "name", where))
    return Calorimeter(
        name,
        str(given.get("title", name)),
        tuple(layers),
        _voxels(_needed(given, "voxels", where), f"{where}: voxels"),
        threshold=_number(given.get("threshold", 0.0), f"{where}: threshold"),
        notes=str(given.get("notes", "")),
        **optional,
    )


def to_mapping(calorimeter: Calorimeter) -> dict[str, Any]:
    """What `from_mapping` makes the same calorimeter of; equal neighbouring layers are written once."""
    groups: list[dict[str, Any]] = []
    last: Layer | None = None
    for layer in calorimeter.layers:
        if layer == last:
            groups[-1]["repeat"] += 1
            continue
        slabs = [
            {"material": slab.material.name, "thickness": slab.thickness, **({"sensitive": True} if slab.sensitive else {})}
            for slab in layer
        ]
        groups.append({"repeat": 1, "slabs": slabs})
        last = layer
    own = {slab.material.name: slab.material for slab in calorimeter.slabs if MATERIALS.get(slab.material.name) != slab.material}
    result: dict[str, Any] = {"name": calorimeter.name, "title": calorimeter.title}
    if own:
        result["materials"] = {name: {"density": m.density, "fractions": dict(m.fractions)} for name, m in own.items()}
    result["layers"] = groups
    result["voxels"] = {
        "depths": list(calorimeter.voxels.depths),
        "angles": calorimeter.voxels.angles,
        "radii": list(calorimeter.voxels.radii),
    }
    result["threshold"] = calorimeter.threshold
    if calorimeter.hexagons is not None:
        result["hexagons"] = {"width": calorimeter.hexagons.width}
    if calorimeter.orientation is not None:
        result["orientation"] = asdict(calorimeter.orientation)
    if calorimeter.notes:
        result["notes"] = calorimeter.notes
    return result


def write(calorimeter: Calorimeter, path: Path) -> None:
    """Write a YAML file that `read` makes the same calorimeter of."""
    path.write_text(yaml.safe_dump(to_mapping(calorimeter), sort_keys=False), encoding="utf-8")


def _voxels(content: Any, where: str) -> Voxels:
    fields = _mapping(content, where)
    regular = {"layers", "layer_depth", "angles", "rings", "ring_width"}
    _known(fields, regular | {"depths", "radii"}, where)
    angles = _whole(_needed(fields, "angles", where), where)
    if "depths" in fields or "radii" in fields:
        edges = [tuple(_number(v, where) for v in _list(_needed(fields, key, where), where)) for key in ("depths", "radii")]
        return Voxels(edges[0], angles, edges[1])
    return Voxels.regular(
        layers=_whole(_needed(fields, "layers", where), where),
        layer_depth=_number(_needed(fields, "layer_depth", where), where),
        angles=angles,
        rings=_whole(_needed(fields, "rings", where), where),
        ring_width=_number(_needed(fields, "ring_width", where), where),
    )


def _slab(content: Any, materials: Mapping[str, Material], where: str) -> Slab:
    fields = _mapping(content, where)
    _known(fields, {"material", "thickness", "sensitive"}, where)
    name = str(_needed(fields, "material", where))
    if name not in materials:
        raise DataError.missing("material", name, materials, where=where)
    sensitive = fields.get("sensitive", False)
    if not isinstance(sensitive, bool):
        raise InputError(f"{where}: sensitive is {sensitive!r}", hint="Write true or false.")
    return Slab(materials[name], _number(_needed(fields, "thickness", where), where), sensitive)


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is no mapping", hint="Write it as `key: value`.")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where} is no list", hint="Write it as `- entry`.")
    return value


def _known(given: Mapping[str, Any], names: set[str], where: str) -> None:
    for key in given:
        if key not in names:
            raise DataError.missing("meaning for the key", str(key), sorted(names), where=where)


def _needed(given: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in given:
        raise DataError.missing("key", key, map(str, given), where=where)
    return given[key]


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"{where}: {value!r} is no number", hint="Lengths are in mm, energies in MeV.")
    return float(value)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{where}: {value!r} is no whole number of 1 or more", hint="Give how many.")
    return value
