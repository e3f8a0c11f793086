"""Files of showers: both layouts there and back, the challenge's order of voxels, and errors that say what is wrong."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from mlcore.errors import DataError, InputError, UnsupportedFeatureError
from mlcore.showers import dataset
from mlcore.showers.dataset import Records, ShowerFile, Writer, binning
from mlcore.showers.geometry import CALORIMETERS
from mlcore.showers.voxels import Voxels

GRID = Voxels.regular(layers=4, layer_depth=3.4, angles=3, rings=2, ring_width=4.65)


def records(count: int = 7, seed: int = 3) -> Records:
    random = np.random.default_rng(seed)
    return Records.of(
        random.exponential(1, (count, *GRID.shape)),
        random.uniform(1e3, 1e5, count),
        GRID,
        theta=random.uniform(1, 2, count),
        phi=random.uniform(0, 6, count),
        particle=random.choice([11, 22], count),
        geometry=random.integers(0, 2, count),
        geometries=("dataset2", "odd"),
    )


def same(left: Records, right: Records) -> None:
    for name in ("showers", "energy", "theta", "phi", "particle", "geometry"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)
    assert (left.geometries, left.voxels) == (right.geometries, right.voxels)


@pytest.mark.parametrize("layout", ["challenge", "lemurs"])
def test_written_showers_are_read_back(tmp_path: Path, layout: dataset.Layout) -> None:
    path = tmp_path / "showers.h5"
    dataset.write(path, records(), layout=layout, metadata={"physics": "data-free"})
    file = ShowerFile.open(path)
    assert (file.layout, file.count, dict(file.metadata)) == (layout, 7, {"physics": "data-free"})
    same(file.read(), records())
    same(Records.joined(file.batches(3)), records())
    assert [len(part) for part in file.batches(3)] == [3, 3, 1]
    same(file.read(2, 5), records()[2:5])


def test_a_file_of_the_challenge_has_layer_angle_ring_order(tmp_path: Path) -> None:
    path = tmp_path / "dataset_2_1.hdf5"
    voxels = CALORIMETERS["dataset2"].voxels
    rows = np.zeros((2, 6480), np.float32)
    rows[1, 3 * 144 + 5 * 9 + 7] = 2.5
    with h5py.File(path, "w") as file:
        file["incident_energies"] = np.array([[1000.0], [2000.0]])
        file["showers"] = rows
    with pytest.raises(InputError, match="does not say which voxels"):
        ShowerFile.open(path).read()
    read = ShowerFile.open(path, voxels, geometry="dataset2").read()
    assert read.showers[1, 3, 5, 7] == 2.5
    assert read.showers.sum() == 2.5
    assert read.energy.tolist() == [1000, 2000]
    assert read.geometries == ("dataset2",)


def test_a_file_of_lemurs_has_rings_first(tmp_path: Path) -> None:
    path = tmp_path / "lemurs.h5"
    with h5py.File(path, "w") as file:
        showers = np.zeros((1, 9, 16, 45), np.float32)
        showers[0, 7, 5, 3] = 1.5
        file["showers"], file["incident_energy"] = showers, [5000.0]
        file["incident_theta"], file["incident_phi"] = [1.2], [0.3]
    read = ShowerFile.open(path, CALORIMETERS["par04-siw"].voxels).read()
    assert read.showers[0, 3, 5, 7] == 1.5
    assert (read.theta[0], read.phi[0]) == (1.2, 0.3)


def test_an_interrupted_writer_leaves_no_file(tmp_path: Path) -> None:
    def write() -> None:
        with Writer(tmp_path / "a.h5", GRID, ("dataset2", "odd")) as writer:
            writer.append(records())
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"showers": np.zeros((7, 23))}, InputError, r"23 voxels each, the geometry 4 x 3 x 2 = 24"),
        ({"showers": np.full((7, 24), np.nan)}, InputError, "NaN or infinity, first in shower 0"),
        ({"showers": np.full((7, 24), -1.0)}, InputError, "negative energies"),
        ({"showers": None}, DataError, "no dataset 'showers'"),
        ({"incident_energies": None}, DataError, "no dataset 'incident_energies'"),
        ({"incident_energies": np.zeros((7, 1))}, InputError, "not all above 0: number 0"),
        ({"incident_energies": np.ones((6, 1))}, InputError, "7 showers and 6 values of incident_energies"),
        ({"theta": np.full(7, 4.0)}, InputError, "theta of shower 0 is 4"),
        ({"geometry": np.full(7, 2)}, InputError, "geometry 2 of 2"),
        ({"showers": np.array([[b"a"]] * 7)}, InputError, "no numbers"),
    ],
)
def test_bad_files_are_told_apart(
    tmp_path: Path, change: dict[str, np.ndarray | None], error: type[Exception], message: str
) -> None:
    path = tmp_path / "bad.h5"
    dataset.write(path, records())
    with h5py.File(path, "r+") as file:
        for name, value in change.items():
            del file[name]
            if value is not None:
                file[name] = value
    with pytest.raises(error, match=message):
        ShowerFile.open(path).read()


def test_what_is_no_hdf5_or_of_another_geometry_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.h5"
    path.write_text("no")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        ShowerFile.open(path)
    dataset.write(tmp_path / "good.h5", records())
    with pytest.raises(InputError, match="4 x 3 x 2 voxels, the geometry 45 x 16 x 9"):
        ShowerFile.open(tmp_path / "good.h5", CALORIMETERS["dataset2"].voxels)


def test_a_link_out_of_the_file_is_not_followed(tmp_path: Path) -> None:
    dataset.write(tmp_path / "good.h5", records())
    dataset.write(tmp_path / "linked.h5", records())
    with h5py.File(tmp_path / "linked.h5", "r+") as file:
        del file["showers"]
        file["showers"] = h5py.ExternalLink("good.h5", "/showers")
    with pytest.raises(DataError, match="no dataset 'showers'"):
        ShowerFile.open(tmp_path / "linked.h5")


def test_several_files_stream_as_one(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.h5" for i in range(3)]
    for i, path in enumerate(paths):
        dataset.write(path, records(5, seed=i))
    same(dataset.read(paths), Records.joined([records(5, seed=i) for i in range(3)]))
    assert [len(part) for part in dataset.stream(paths, size=4)] == [4, 1] * 3


def test_a_binning_goes_to_xml_and_back(tmp_path: Path) -> None:
    voxels = CALORIMETERS["dataset3"].voxels
    binning.write(voxels, tmp_path / "binning.xml")
    read = binning.read(tmp_path / "binning.xml")
    np.testing.assert_allclose(read.depths, voxels.depths, rtol=1e-11)  # 12 digits are written
    np.testing.assert_allclose(read.radii, voxels.radii, rtol=1e-11)
    assert read.angles == 50


OTHER = '<Layer id="1" r_edges="0,1" n_bin_alpha="4"/>'
LAYERS = '<Layer id="0" r_edges="0,1,2" n_bin_alpha="4"/>'


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("<Bins", InputError, "cannot be read as XML"),
        ("<Bins/>", InputError, "no <Bin>"),
        ('<Bins><Bin name="electron"/></Bins>', InputError, "no <Layer>"),
        (f'<Bins><Bin name="electron">{LAYERS}{OTHER}</Bin></Bins>', UnsupportedFeatureError, "2 different"),
        ('<Bins><Bin name="electron"><Layer id="0" r_edges="0,x" n_bin_alpha="4"/></Bin></Bins>', InputError, "'0,x'"),
        (f'<Bins><Bin name="photon">{LAYERS}</Bin></Bins>', DataError, "'electron'"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><Bins/>', InputError, "entities"),
    ],
)
def test_a_bad_binning_is_told_apart(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    (tmp_path / "b.xml").write_text(text)
    with pytest.raises(error, match=message):
        binning.read(tmp_path / "b.xml", particle="electron")


def test_thresholds_and_joining() -> None:
    one = records()
    assert (one.above(1.0).showers[one.showers < 1] == 0).all()
    np.testing.assert_array_equal(one.above(1.0).showers[one.showers >= 1], one.showers[one.showers >= 1])
    other = Records.of(one.showers, one.energy, GRID, geometries=("cld",))
    both = Records.joined([one, other])
    assert both.geometries == ("dataset2", "odd", "cld")
    assert both.geometry[7:].tolist() == [2] * 7
    with pytest.raises(InputError, match="different voxels"):
        Records.joined([one, Records.of(np.zeros((1, 6480)), 1.0 * np.ones(1), CALORIMETERS["dataset2"].voxels)])
