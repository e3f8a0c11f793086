"""Calorimeters as dataclasses: materials, layers, voxels; shipped ones, and any from a YAML file.

Public names: `Calorimeter` of `Slab`s of `Material`, with `Voxels`; `CALORIMETERS` are shipped, `calorimeter` finds one by name
or file, `read`, `write`, `from_mapping` and `to_mapping` go to YAML and back; `Hexagons` are cells, `Orientation` is of crystals.
"""

from mlcore.showers.geometry.calorimeter import Calorimeter, Layer, Slab
from mlcore.showers.geometry.crystals import Orientation
from mlcore.showers.geometry.files import calorimeter, from_mapping, read, to_mapping, write
from mlcore.showers.geometry.hexagons import Hexagons
from mlcore.showers.geometry.materials import ELEMENTS, MATERIALS, Element, Material
from mlcore.showers.geometry.shipped import CALORIMETERS
from mlcore.showers.voxels import Voxels

__all__ = [
    "CALORIMETERS",
    "ELEMENTS",
    "MATERIALS",
    "Calorimeter",
    "Element",
    "Hexagons",
    "Layer",
    "Material",
    "Orientation",
    "Slab",
    "Voxels",
    "calorimeter",
    "from_mapping",
    "read",
    "to_mapping",
    "write",
]
