"""Geant4 in this process: one calorimeter, one particle, one physics list, as Geant4's run manager allows it once a process."""

from __future__ import annotations

import ctypes
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kernels import StepScorer
from mlcore.errors import InputError, ToolchainError
from mlcore.showers.fullsim import datafree
from mlcore.showers.fullsim.plan import ELECTROMAGNETIC, PDG, Conditions, Plan
from mlcore.showers.geometry import MATERIALS, Calorimeter, Material, Slab
from mlcore.showers.voxels import Voxels

NIST = {"polystyrene": "G4_POLYSTYRENE", "PbWO4": "G4_PbWO4", "air": "G4_AIR", "liquid argon": "G4_lAr"}
ELEMENTS = ("W", "Pb", "Cu", "Fe", "Al", "Si")
PROCESS_HITS = 8
"""Place of ProcessHits among a sensitive detector's virtual functions."""
GAP = 1.0
"""Between the particle's start and the calorimeter, mm."""
MARGIN = 10.0
PROBE = 1e-3
"""Half the length of the made-up step, mm."""
COMMANDS = ("/process/em/verbose 0", "/process/verbose 0", "/run/verbose 0", "/run/particle/verbose 0")


@dataclass(frozen=True)
class Simulated:
    """Showers of one call.

    Attributes
    ----------
    showers
        float32, shape (n_showers, n_layers, n_angles, n_radii), MeV.
    outside
        Energy read out outside all voxels, float64, shape (n_showers,), MeV.
    steps
        In what is read out, uint64, shape (n_showers,).
    """

    showers: npt.NDArray[np.float32]
    outside: npt.NDArray[np.float64]
    steps: npt.NDArray[np.uint64]


def installed_data(folder: Path | None) -> bool:
    """Whether a folder holds Geant4's data sets, those of low-energy electromagnetism at least."""
    return folder is not None and any(folder.glob("G4EMLOW*")) and any(folder.glob("G4ENSDFSTATE*"))


def load(data: Path | None, scratch: Path) -> Any:
    """Import geant4_pybind, with data sets or told not to look for any.

    Raises
    ------
    ToolchainError
        It is not installed.
    """
    if data is None:
        # It is asked for at start, and read for excited nuclei, of which there are none.
        (scratch / "ENSDFSTATE.dat").touch()
        for name in ("GEANT4_DATA_DIR", "G4LEDATA", "G4ENSDFSTATEDATA"):
            os.environ[name] = str(scratch)
    else:
        os.environ["GEANT4_DATA_DIR"] = str(data)
    try:
        import geant4_pybind
    except ImportError as error:
        raise ToolchainError(
            "Geant4 is not installed", hint='Install it with `pip install "ml4ep-portal[geant4]"`.', code="showers.geant4"
        ) from error
    return geant4_pybind


class Engine:
    """A calorimeter in Geant4, ready to be hit.

    Parameters
    ----------
    data
        Folder of Geant4's data sets; None for the data-free physics.
    scratch
        An empty folder.
    native
        Whether steps are added up natively; else by Python, some ten times slower, which tests compare with.

    Raises
    ------
    InputError
        A hadron, or a standard list, without data sets.
    ToolchainError
        Geant4 is not installed, or is another version.
    """

    def __init__(self, plan: Plan, data: Path | None, scratch: Path, *, native: bool = True) -> None:
        name = plan.physics
        if name == "auto":
            name = "data-free" if data is None else "FTFP_BERT"
        if name != "data-free" and data is None:
            raise InputError(
                f"the physics list {name} needs Geant4's data sets", hint="Name their folder.", code="showers.physics"
            )
        if name == "data-free" and plan.particle not in ELECTROMAGNETIC:
            raise InputError(
                f"the data-free physics knows electrons, positrons and photons, no {plan.particle}",
                hint="Name the folder of Geant4's data sets.",
                code="showers.physics",
            )
        self.g4 = g4 = load(data, scratch)
        self.plan, self.voxels = plan, plan.calorimeter.voxels
        self.physics = datafree.TITLE if name == "data-free" else name
        self.version = f"{g4.G4VERSION_NUMBER // 100}.{g4.G4VERSION_NUMBER // 10 % 10}.{g4.G4VERSION_NUMBER % 10}"
        self.scorer = StepScorer(self.voxels.depths, self.voxels.angles, self.voxels.radii)
        self._detector = _detector(g4, self.scorer)
        if native:
            _attach(g4, self._detector, self.scorer, self.voxels)
        g4.G4Random.getTheEngine().setSeed(1, 0)
        self._manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.Serial)
        self._manager.SetVerboseLevel(0)
        reach = max(abs(1 / math.tan(theta)) for theta in plan.theta) * plan.calorimeter.depth
        radius = max(300.0, 1.5 * self.voxels.radii[-1]) + reach
        self._geometry = _geometry(g4, plan.calorimeter, radius, self._detector)
        self._list = _data_free(g4, plan.cut) if name == "data-free" else _standard(g4, name, plan.cut)
        self._actions = _actions(g4, PDG[plan.particle], self)
        for part in (self._geometry, self._list, self._actions):
            self._manager.SetUserInitialization(part)
        commands = g4.G4UImanager.GetUIpointer()
        for command in (*COMMANDS, *(("/process/em/fluo false",) if name == "data-free" else ())):
            commands.ApplyCommand(command)
        self._manager.Initialize()

    def run(self, conditions: Conditions) -> Simulated:
        """Simulate showers of those conditions."""
        count = len(conditions.energy)
        self.conditions, self.number = conditions, 0
        self.showers = np.zeros((count, *self.voxels.shape), np.float32)
        self.outside, self.steps = np.zeros(count), np.zeros(count, np.uint64)
        self.g4.G4Random.setTheSeeds([*conditions.seeds, 0])
        self._manager.BeamOn(count)
        if self.number != count:
            raise ToolchainError(f"Geant4 gave up after {self.number} of {count} showers", hint="Its output says why.")
        return Simulated(self.showers, self.outside, self.steps)

    def begin(self, gun: Any, event: Any) -> None:
        """Aim at the middle of the face and fire."""
        g4, at = self.g4, self.number
        sine, cosine = math.sin(self.conditions.theta[at]), math.cos(self.conditions.theta[at])
        # The beam along x, the layers across z; angle 0 of the voxels lies in the plane of both.
        self.scorer.set_axes((sine, 0, -cosine, 0, 1, 0, cosine, 0, sine))
        self.scorer.clear()
        gun.SetParticlePosition(g4.G4ThreeVector(-GAP * cosine / sine, 0, -GAP))
        gun.SetParticleMomentumDirection(g4.G4ThreeVector(cosine, 0, sine))
        gun.SetParticleEnergy(float(self.conditions.energy[at]))
        gun.GeneratePrimaryVertex(event)

    def end(self) -> None:
        """Keep the shower."""
        self.showers[self.number] = self.scorer.energies().reshape(self.voxels.shape)
        self.outside[self.number], self.steps[self.number] = self.scorer.outside, self.scorer.steps
        self.number += 1


def _detector(g4: Any, scorer: StepScorer) -> Any:
    class Detector(g4.G4VSensitiveDetector):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("calorimeter")

        def ProcessHits(self, step: Any, history: Any) -> bool:  # noqa: N802
            before, after = step.GetPreStepPoint().GetPosition(), step.GetPostStepPoint().GetPosition()
            middle = [(getattr(before, axis) + getattr(after, axis)) / 2 for axis in "xyz"]
            scorer.add(step.GetTotalEnergyDeposit(), *middle)
            return bool(step.GetTotalEnergyDeposit() > 0)

    return Detector()


def _attach(g4: Any, detector: Any, scorer: StepScorer, voxels: Voxels) -> None:
    """Let the scorer be called natively, and prove with a made-up step that it reads what it should."""
    step = g4.G4Step()
    step.SetTotalEnergyDeposit(1.625)
    points = [_address(point) for point in (step.GetPreStepPoint(), step.GetPostStepPoint())]
    depth, radius = _middle(voxels.depths), _middle(voxels.radii)
    held = [ctypes.c_uint64.from_address(_address(step) + offset).value for offset in (16, 24)]
    fits = held == points
    for address, z in zip(points if fits else [], (depth - PROBE, depth + PROBE), strict=False):
        (ctypes.c_double * 3).from_address(address)[:] = [radius, 0, z]
    if fits:
        found = [
            (place.x, place.y, place.z) for place in (step.GetPreStepPoint().GetPosition(), step.GetPostStepPoint().GetPosition())
        ]
        fits = found == [(radius, 0, depth - PROBE), (radius, 0, depth + PROBE)]
    if fits:
        scorer.attach(_address(detector), PROCESS_HITS)
        detector.Hit(step)
        energy = scorer.energies().reshape(voxels.shape)[0, voxels.angles // 2, 0]
        fits = (energy, scorer.steps, scorer.outside) == (1.625, 1, 0)
    if not fits:
        raise ToolchainError(
            "Geant4's steps are not laid out as the native scorer expects",
            hint="Install the pinned geant4-pybind.",
            code="showers.geant4",
        )


def _address(thing: Any) -> int:
    """Of the C++ object of one of pybind11's: behind the head of the Python object, by way of a list of its bases."""
    return ctypes.c_uint64.from_address(ctypes.c_uint64.from_address(id(thing) + object.__basicsize__).value).value


def _geometry(g4: Any, calorimeter: Calorimeter, radius: float, detector: Any) -> Any:
    """A stack of discs from z = 0 on, in vacuum."""

    class Construction(g4.G4VUserDetectorConstruction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[Any] = []
            self.sensitive: list[Any] = []

        def Construct(self) -> Any:  # noqa: N802
            vacuum = g4.G4NistManager.Instance().FindOrBuildMaterial("G4_Galactic")
            depth = calorimeter.depth
            box = g4.G4Box("world", *(2 * (radius + MARGIN),) * 2, depth + radius + MARGIN)
            world = self._keep(g4.G4LogicalVolume(self._keep(box), vacuum, "world"))
            outer = self._keep(g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "world", None, False, 0, False))
            stack = self._disc("stack", depth, vacuum)
            self._place(stack, depth / 2, world)
            layers = calorimeter.layers
            if len(layers) > 1 and all(layer == layers[0] for layer in layers):
                pitch = depth / len(layers)
                cell = self._disc("layer", pitch, vacuum)
                self._keep(g4.G4PVReplica("layer", cell, stack, g4.EAxis.kZAxis, len(layers), pitch))
                self._fill(layers[0], cell, -pitch / 2, {})
            else:
                self._fill(calorimeter.slabs, stack, -depth / 2, {})
            return outer

        def ConstructSDandField(self) -> None:  # noqa: N802
            g4.G4SDManager.GetSDMpointer().AddNewDetector(detector)
            for volume in self.sensitive:
                self.SetSensitiveDetector(volume, detector)

        def _fill(self, slabs: tuple[Slab, ...], mother: Any, at: float, made: dict[Slab, Any]) -> None:
            for number, slab in enumerate(slabs):
                if slab not in made:
                    made[slab] = self._disc(slab.material.name, slab.thickness, _material(g4, slab.material))
                    if slab.sensitive:
                        self.sensitive.append(made[slab])
                self._place(made[slab], at + slab.thickness / 2, mother, number)
                at += slab.thickness

        def _disc(self, name: str, thickness: float, material: Any) -> Any:
            solid = self._keep(g4.G4Tubs(name, 0.0, radius, thickness / 2, 0.0, 2 * math.pi))
            return self._keep(g4.G4LogicalVolume(solid, material, name))

        def _place(self, volume: Any, z: float, mother: Any, number: int = 0) -> None:
            at = g4.G4ThreeVector(0, 0, z)
            self._keep(g4.G4PVPlacement(None, at, volume, volume.GetName(), mother, False, number, False))

        def _keep(self, thing: Any) -> Any:
            self.kept.append(thing)
            return thing

    return Construction()


def _material(g4: Any, material: Material) -> Any:
    manager = g4.G4NistManager.Instance()
    known = NIST.get(material.name, f"G4_{material.name}" if material.name in ELEMENTS else "")
    if known and material == MATERIALS[material.name]:
        return manager.FindOrBuildMaterial(known)
    symbols, fractions = zip(*material.fractions, strict=True)
    density = material.density * g4.g / g4.cm3
    return manager.ConstructNewMaterial(
        f"ml4ep {material.name}", g4.G4StringVector(symbols), g4.G4doubleVector(fractions), density
    )


def _data_free(g4: Any, cut: float) -> Any:
    class Electromagnetic(g4.G4VPhysicsConstructor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("data-free")
            self.physics = datafree.Physics(g4)

        def ConstructParticle(self) -> None:  # noqa: N802
            # Geant4 asks for protons when it makes its tables of cuts.
            for particle in (g4.G4Gamma, g4.G4Electron, g4.G4Positron, g4.G4Proton, g4.G4Geantino):
                particle.Definition()

        def ConstructProcess(self) -> None:  # noqa: N802
            self.physics.construct()

    class List(g4.G4VModularPhysicsList):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.part = Electromagnetic()
            self.RegisterPhysics(self.part)
            self.SetDefaultCutValue(cut)
            self.SetVerboseLevel(0)

    return List()


def _standard(g4: Any, name: str, cut: float) -> Any:
    factory = g4.G4PhysListFactory()
    if not factory.IsReferencePhysList(name):
        raise ToolchainError(f"Geant4 has no physics list {name}", hint="Choose FTFP_BERT.")
    result = factory.GetReferencePhysList(name)
    result.SetDefaultCutValue(cut)
    result.SetVerboseLevel(0)
    return result


def _actions(g4: Any, pdg: int, engine: Engine) -> Any:
    class Gun(g4.G4VUserPrimaryGeneratorAction):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.gun = g4.G4ParticleGun(1)
            self.gun.SetParticleDefinition(g4.G4ParticleTable.GetParticleTable().FindParticle(pdg))

        def GeneratePrimaries(self, event: Any) -> None:  # noqa: N802
            engine.begin(self.gun, event)

    class Event(g4.G4UserEventAction):  # type: ignore[misc]
        def BeginOfEventAction(self, event: Any) -> None:  # noqa: N802
            pass

        def EndOfEventAction(self, event: Any) -> None:  # noqa: N802
            engine.end()

    class Actions(g4.G4VUserActionInitialization):  # type: ignore[misc]
        def BuildForMaster(self) -> None:  # noqa: N802
            pass

        def Build(self) -> None:  # noqa: N802
            self.gun, self.event = Gun(), Event()
            self.SetUserAction(self.gun)
            self.SetUserAction(self.event)

    return Actions()


def _middle(edges: tuple[float, ...]) -> float:
    return (edges[0] + edges[1]) / 2
