"""The calorimeters that the project brings along; those called "like" an experiment's have its layers, not its every detail."""

from __future__ import annotations

from mlcore.errors import DataError
from mlcore.showers.geometry.calorimeter import Calorimeter, Layer, Slab
from mlcore.showers.geometry.crystals import PWO, TUNGSTEN
from mlcore.showers.geometry.hexagons import Hexagons
from mlcore.showers.geometry.materials import MATERIALS
from mlcore.showers.voxels import Voxels

__all__ = ["CALORIMETERS", "find"]

W, PB, CU, FE, SI = (MATERIALS[name] for name in ("W", "Pb", "Cu", "Fe", "Si"))
SCINTILLATOR, CRYSTAL, G10, AIR, CUW = (MATERIALS[name] for name in ("polystyrene", "PbWO4", "G10", "air", "CuW"))


def find(name: str) -> Calorimeter:
    """A shipped calorimeter by its name.

    Raises
    ------
    DataError
        There is none of that name; the nearest are listed.
    """
    if name not in CALORIMETERS:
        raise DataError.missing("calorimeter", name, CALORIMETERS, where="the project")
    return CALORIMETERS[name]


def _repeated(layer: Layer, count: int) -> tuple[Layer, ...]:
    return (layer,) * count


def _sic_layer(absorber: float) -> Layer:
    """A layer of the CLIC family: tungsten, silicon half a millimetre thick, and what carries and reads it."""
    return (
        Slab(W, absorber),
        Slab(G10, 0.15),
        Slab(SI, 0.5, sensitive=True),
        Slab(AIR, 0.1),
        Slab(G10, 1.3),
        Slab(AIR, 0.25),
        Slab(G10, 0.75),
    )


def _hgcal() -> Calorimeter:
    # 26 layers before silicon with lead and copper alloy, then 21 with steel, the last nine of them thick.
    silicon = Slab(SI, 0.3, sensitive=True)
    fine = (Slab(PB, 2.1), Slab(CUW, 1.4), silicon, Slab(G10, 1.6), Slab(AIR, 2.0), Slab(CU, 3.0))
    steel = (Slab(FE, 41.5), Slab(CU, 6.0), silicon, Slab(G10, 1.6), Slab(AIR, 3.0))
    thick = (Slab(FE, 60.7), Slab(CU, 6.0), silicon, Slab(G10, 1.6), Slab(AIR, 3.0))
    layers = (*_repeated(fine, 26), *_repeated(steel, 12), *_repeated(thick, 9))
    depths = [0.0]
    for layer in layers:
        depths.append(depths[-1] + sum(slab.thickness for slab in layer))
    voxels = Voxels(tuple(depths), 12, tuple(float(4 * i) for i in range(22)))
    return Calorimeter(
        "hgcal",
        "HGCal-like endcap",
        layers,
        voxels,
        hexagons=Hexagons(12.1),
        notes="47 layers with hexagonal cells, after the Phase-2 upgrade of the CMS endcap calorimeter, CMS-TDR-019.",
    )


def _stack(name: str, title: str, layers: tuple[Layer, ...], grid: Voxels, notes: str, threshold: float = 0.0) -> Calorimeter:
    return Calorimeter(name, title, layers, grid, threshold=threshold, notes=notes)


_SIW = _repeated((Slab(W, 1.4), Slab(SI, 0.3, sensitive=True)), 90)
_CHALLENGE = (
    "90 layers, two to a voxel; voxels and threshold as in the Fast Calorimeter Simulation Challenge 2022, arXiv:2410.21611."
)

CALORIMETERS: dict[str, Calorimeter] = {
    calorimeter.name: calorimeter
    for calorimeter in (
        _stack(
            "dataset2",
            "CaloChallenge dataset 2",
            _SIW,
            Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65),
            _CHALLENGE,
            0.01515,
        ),
        _stack(
            "dataset3",
            "CaloChallenge dataset 3",
            _SIW,
            Voxels.regular(layers=45, layer_depth=3.4, angles=50, rings=18, ring_width=2.325),
            _CHALLENGE,
            0.01515,
        ),
        _stack(
            "par04-siw",
            "Par04, tungsten and silicon",
            _SIW,
            Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65),
            "Layers of Geant4's example Par04.",
        ),
        _stack(
            "par04-scipb",
            "Par04, lead and scintillator",
            _repeated((Slab(PB, 4.4), Slab(SCINTILLATOR, 1.2, sensitive=True)), 45),
            Voxels.regular(layers=45, layer_depth=5.6, angles=16, rings=9, ring_width=9.3),
            "Lead and scintillator in Geant4's example Par04.",
        ),
        _stack(
            "odd",
            "Open Data Detector-like",
            _repeated(_sic_layer(1.9), 48),
            Voxels.regular(layers=45, layer_depth=5.35, angles=16, rings=9, ring_width=5.0),
            "48 layers of tungsten and silicon after the barrel of the Open Data Detector.",
        ),
        _stack(
            "cld",
            "FCC-ee CLD-like",
            _repeated(_sic_layer(1.9), 40),
            Voxels.regular(layers=45, layer_depth=4.5, angles=16, rings=9, ring_width=5.0),
            "40 layers of tungsten and silicon, 5 mm to a layer, after the CLD detector concept, arXiv:1911.12230.",
        ),
        _hgcal(),
        _stack(
            "pwo",
            "Lead tungstate crystal",
            _repeated((Slab(CRYSTAL, 5.0, sensitive=True),), 45),
            Voxels.regular(layers=45, layer_depth=5.0, angles=16, rings=9, ring_width=5.0),
            "25 radiation lengths of one crystal; the layers are those of the voxels.",
        ),
        Calorimeter(
            "pwo-oriented",
            "Oriented lead tungstate crystal",
            _repeated((Slab(CRYSTAL, 5.0, sensitive=True),), 45),
            Voxels.regular(layers=45, layer_depth=5.0, angles=16, rings=9, ring_width=5.0),
            orientation=PWO,
            notes="The crystal of pwo, its axis along the depth.",
        ),
        Calorimeter(
            "w-oriented",
            "Oriented tungsten and silicon",
            _SIW,
            Voxels.regular(layers=45, layer_depth=3.4, angles=16, rings=9, ring_width=4.65),
            orientation=TUNGSTEN,
            notes="The layers of par04-siw with crystals of tungsten, their axis along the depth.",
        ),
    )
}
