"""Geometries: what is computed against published values, YAML there and back, hexagonal cells, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from mlcore.errors import DataError, InputError
from mlcore.showers import geometry
from mlcore.showers.geometry import CALORIMETERS, MATERIALS, Hexagons, Material, Orientation, Voxels
from mlcore.showers.geometry.crystals import PWO, TUNGSTEN

# Particle Data Group, "Atomic and nuclear properties of materials": X0 (g/cm2), E_c (MeV), R_M (g/cm2), dE/dx (MeV cm2/g).
PUBLISHED = {
    "W": (6.76, 7.97, 18.0, 1.145),
    "Pb": (6.37, 7.43, 18.2, 1.122),
    "Cu": (12.86, 19.42, 14.05, 1.403),
    "Fe": (13.84, 21.68, 13.53, 1.451),
    "Al": (24.01, 42.70, 11.93, 1.615),
    "Si": (21.82, 40.19, 11.51, 1.664),
    "PbWO4": (7.39, 9.64, 16.26, 1.229),
    "polystyrene": (43.79, 93.11, 9.97, 1.936),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_materials_have_their_published_properties(name: str) -> None:
    length, critical, radius, loss = PUBLISHED[name]
    material = MATERIALS[name]
    assert material.specific_radiation_length == pytest.approx(length, rel=2e-3)  # Tsai's formula, rounded in print
    assert material.least_loss * 10 / material.density == pytest.approx(loss, rel=1e-2)  # Bragg additivity
    # The fits to critical energies are good to some percent, for plastics to 7 %.
    assert material.critical_energy == pytest.approx(critical, rel=0.07)
    if name in {"Si", "Al", "Fe", "Cu", "PbWO4", "polystyrene"}:
        assert material.radiation_length / 10 * material.density * 21.2052 / material.critical_energy == pytest.approx(
            radius, rel=0.07
        )


def test_a_mixture_is_that_of_its_masses() -> None:
    mixed = Material.mixed("both", [(MATERIALS["W"], 1.4), (MATERIALS["Si"], 0.3)])
    assert mixed.density == pytest.approx((19.3 * 1.4 + 2.329 * 0.3) / 1.7)
    # Radiation lengths along a line add up, whatever the order.
    assert 1.7 / mixed.radiation_length == pytest.approx(
        1.4 / MATERIALS["W"].radiation_length + 0.3 / MATERIALS["Si"].radiation_length
    )


@pytest.mark.parametrize("calorimeter", CALORIMETERS.values(), ids=str)
def test_shipped_calorimeters_hold_showers_and_survive_yaml(calorimeter: geometry.Calorimeter, tmp_path: Path) -> None:
    assert calorimeter.radiation_lengths > 20
    assert calorimeter.voxels.depths[-1] == pytest.approx(calorimeter.depth, rel=0.03)
    assert calorimeter.voxels.radii[-1] > 2 * calorimeter.moliere_radius
    assert 0 < calorimeter.sampling_fraction <= 1
    geometry.write(calorimeter, tmp_path / "c.yaml")
    assert geometry.read(tmp_path / "c.yaml") == calorimeter
    assert geometry.calorimeter(calorimeter.name) is calorimeter


def test_figures_of_known_calorimeters() -> None:
    siw = CALORIMETERS["dataset2"]
    assert siw.voxels.shape == (45, 16, 9)
    assert siw.threshold == 0.01515
    assert siw.mip_fraction == pytest.approx(0.3 * 0.3876 / (0.3 * 0.3876 + 1.4 * 2.210), rel=1e-3)
    assert CALORIMETERS["pwo"].sampling_fraction == 1
    assert CALORIMETERS["pwo"].homogeneous
    assert not siw.homogeneous
    assert len(CALORIMETERS["hgcal"].layers) == 47
    # A photon converts first; ten times the energy is ln 10 deeper.
    assert siw.depth_of_maximum(1e4, photon=True) - siw.depth_of_maximum(1e4) == pytest.approx(0.5)
    assert siw.depth_of_maximum(1e5) - siw.depth_of_maximum(1e4) == pytest.approx(np.log(10))


OWN = """
name: mine
materials:
  brass: {density: 8.5, fractions: {Cu: 0.7, Fe: 0.3}}
layers:
  - repeat: 30
    slabs:
      - {material: brass, thickness: 3.0}
      - {material: Si, thickness: 0.5, sensitive: true}
voxels: {layers: 30, layer_depth: 3.5, angles: 16, rings: 9, ring_width: 5.0}
threshold: 0.02
"""


def test_a_calorimeter_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    mine = geometry.calorimeter(path)
    assert (len(mine.layers), mine.depth, mine.voxels.shape) == (30, pytest.approx(105), (30, 16, 9))
    assert mine.slabs[0].material.density == 8.5
    geometry.write(mine, path)
    assert geometry.read(path) == mine


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"voxels": None}, InputError, "voxels is no mapping"),
        ({"layers": []}, InputError, "has no layers"),
        ({"layers": [{"slabs": [{"material": "Sj", "thickness": 1, "sensitive": True}]}]}, DataError, "no material 'Sj'"),
        ({"layers": [{"slabs": [{"material": "Si", "thickness": 1}]}]}, InputError, "no sensitive slab"),
        ({"layers": [{"slabs": [{"material": "Si", "thickness": -1, "sensitive": True}]}]}, InputError, "-1.0 mm thick"),
        ({"layers": [{"slabs": [{"material": "Si", "thickness": "1 mm"}]}]}, InputError, "'1 mm' is no number"),
        ({"layers": [{"repeat": 10**9, "slabs": [{"material": "Si", "thickness": 1}]}]}, InputError, "more than 2000 layers"),
        ({"materials": {"x": {"density": 1, "fractions": {"Cu": 0.5}}}}, InputError, "add up to 0.5"),
        ({"materials": {"x": {"density": 1, "fractions": {"Xx": 1.0}}}}, DataError, "no element 'Xx'"),
        ({"treshold": 1}, DataError, "'treshold'"),
        ({"threshold": float("nan")}, InputError, "threshold nan"),
        ({"orientation": {"axis": "[001]", "onset": 3, "anchor": 2, "factor": 5, "width": 1}}, InputError, "onset < anchor"),
    ],
)
def test_bad_geometries_are_told_apart(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        geometry.from_mapping({**yaml.safe_load(OWN), **change})


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.getcwd []", "- 1"])
def test_what_is_no_geometry_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError):
        geometry.read(tmp_path / "bad.yaml")


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(DataError) as caught:
        geometry.calorimeter("dataset4")
    assert "dataset2" in caught.value.hint


VOXELS = Voxels.regular(layers=3, layer_depth=1, angles=12, rings=10, ring_width=5)


def test_hexagonal_cells_share_all_of_the_disc() -> None:
    cells = Hexagons(12.0)
    areas = cells.shared_areas(VOXELS)
    assert areas.sum() == pytest.approx(np.pi * 50**2)
    # The middle cell lies inside entirely and has a hexagon's area; sampling sees it to a percent.
    assert areas[0].sum() == pytest.approx(np.sqrt(3) / 2 * 12**2, rel=0.01)
    centres = cells.centres(50)
    np.testing.assert_array_equal(centres[0], [0, 0])
    np.testing.assert_allclose(np.hypot(*centres[1:7].T), 12)  # its six neighbours


def test_energy_survives_hexagons_and_back() -> None:
    cells = Hexagons(12.0)
    random = np.random.default_rng(1)
    showers = random.exponential(1, (4, *VOXELS.shape)).astype(np.float32)
    there = cells.from_voxels(showers, VOXELS)
    back = cells.to_voxels(there, VOXELS)
    np.testing.assert_allclose(there.sum(axis=-1), showers.sum(axis=(2, 3)), rtol=1e-5)  # float32
    np.testing.assert_allclose(back.sum(axis=(2, 3)), showers.sum(axis=(2, 3)), rtol=1e-5)
    # Energy spread evenly over the disc is even in both grids.
    even = np.broadcast_to(np.pi * np.diff(np.square(VOXELS.radii)) / 12, VOXELS.shape).astype(np.float32)
    np.testing.assert_allclose(cells.to_voxels(cells.from_voxels(even, VOXELS), VOXELS), even, rtol=1e-4)
    with pytest.raises(InputError, match="cells a layer"):
        cells.to_voxels(np.zeros((3, 5)), VOXELS)


def test_a_point_lies_in_the_nearest_cell() -> None:
    cells = Hexagons(12.0)
    points = np.random.default_rng(2).uniform(-40, 40, (500, 2))
    centres = cells.centres(80)
    nearest = centres[np.argmin(((points[:, None] - centres) ** 2).sum(axis=2), axis=1)]
    np.testing.assert_array_equal(cells.cells_at(*points.T), cells.cells_at(*nearest.T))


@pytest.mark.parametrize("orientation", [PWO, TUNGSTEN], ids=["PbWO4", "W"])
def test_oriented_crystals_have_their_limits(orientation: Orientation) -> None:
    assert orientation.shortening(orientation.anchor) == pytest.approx(orientation.factor)
    assert orientation.shortening(orientation.onset / 2) == 1  # amorphous at low energies
    assert orientation.shortening(orientation.anchor, 100 * orientation.width) == pytest.approx(
        1, abs=1e-3
    )  # and at large angles
    factors = [orientation.shortening(energy) for energy in np.geomspace(1, 200, 20)]
    assert factors == sorted(factors)
    with pytest.raises(InputError, match="-1 GeV"):
        orientation.shortening(-1)
