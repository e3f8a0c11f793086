"""Electromagnetic physics of Geant4 without its data sets.

geant4-pybind binds no classes of single processes, but exports the C++ constructors: they are called here by their names. The
models are those that need no tables from files: photoelectric effect by Sandia tables, Klein-Nishina, Bethe-Heitler with LPM,
Moller-Bhabha with fluctuations, Urban's multiple scattering (step limit UseSafety), and bremsstrahlung by the relativistic model
with LPM down to 1 keV, for which Geant4 itself would take Seltzer-Berger's tables below 1 GeV.
"""

from __future__ import annotations

import ctypes
from typing import Any

from mlcore.errors import ToolchainError

VERSION = 1141
"""Of Geant4, for which the places of members hold."""
TITLE = "data-free electromagnetic: Urban msc, Moller-Bhabha, relativistic bremsstrahlung with LPM, Bethe-Heitler, Klein-Nishina"
OBJECT_BYTES = 1 << 16
"""Given to each process and model, more than any of them needs."""
ELECTROMAGNETIC = 2  # G4ProcessType::fElectromagnetic
LOW_LIMITS = (128, 352)
"""Where G4eBremsstrahlungRelModel keeps its lower limits of energy: the base class' and its own."""
LOWEST_BREMSSTRAHLUNG = 1e-3  # MeV


class Physics:
    """Makes processes; holds what their C++ objects point to, and so lives as long as they do.

    Parameters
    ----------
    g4
        The module geant4_pybind.

    Raises
    ------
    ToolchainError
        Another version of Geant4, or a function that is not there.
    """

    def __init__(self, g4: Any) -> None:
        if g4.G4VERSION_NUMBER != VERSION:
            raise ToolchainError(
                f"geant4-pybind brings Geant4 {g4.G4VERSION_NUMBER}, and the data-free physics is made for {VERSION}",
                hint="Install the pinned geant4-pybind, or Geant4's data sets.",
            )
        self._library = ctypes.CDLL(g4.__file__)
        self._kept: list[Any] = []

    def construct(self) -> None:
        """Register the processes of photons, electrons and positrons."""
        photon, electron, positron = (
            self._pointer(name) for name in ("_ZN7G4Gamma5GammaEv", "_ZN10G4Electron8ElectronEv", "_ZN10G4Positron8PositronEv")
        )
        kind = ctypes.c_int(ELECTROMAGNETIC)
        absorption = self._new("_ZN21G4PhotoElectricEffectC1ERK8G4String13G4ProcessType", self._string("phot"), kind)
        sandia = self._new("_ZN19G4PEEffectFluoModelC1ERK8G4String", self._string("PhotoElectric"))
        self._call("_ZN12G4VEmProcess10SetEmModelEP10G4VEmModeli", absorption, sandia, ctypes.c_int(0))
        self._register(absorption, photon)
        self._register(self._new("_ZN19G4ComptonScatteringC1ERK8G4String13G4ProcessType", self._string("compt"), kind), photon)
        self._register(self._new("_ZN17G4GammaConversionC1ERK8G4String13G4ProcessType", self._string("conv"), kind), photon)
        for particle in (electron, positron):
            self._register(self._new("_ZN21G4eMultipleScatteringC1ERK8G4String", self._string("msc")), particle)
            self._register(self._new("_ZN13G4eIonisationC1ERK8G4String", self._string("eIoni")), particle)
            self._register(self._bremsstrahlung(), particle)
        self._register(self._new("_ZN19G4eplusAnnihilationC1ERK8G4String", self._string("annihil")), positron)

    def _bremsstrahlung(self) -> ctypes.c_void_p:
        process = self._new("_ZN17G4eBremsstrahlungC1ERK8G4String", self._string("eBrem"))
        for number in (0, 1):  # below and above the energy where Geant4 changes models
            model = self._new(
                "_ZN25G4eBremsstrahlungRelModelC1EPK20G4ParticleDefinitionRK8G4String",
                ctypes.c_void_p(None),
                self._string(f"eBremLPM{number}"),
            )
            if number == 0:
                self._lower(model)
            self._call("_ZN20G4VEnergyLossProcess10SetEmModelEP10G4VEmModeli", process, model, ctypes.c_int(number))
        return process

    def _lower(self, model: ctypes.c_void_p) -> None:
        for offset in LOW_LIMITS:
            limit = ctypes.c_double.from_address((model.value or 0) + offset)
            if limit.value != 1.0:
                raise ToolchainError(
                    f"G4eBremsstrahlungRelModel holds {limit.value} where its limit of 1 MeV is expected",
                    hint="Install the pinned geant4-pybind.",
                )
            limit.value = LOWEST_BREMSSTRAHLUNG

    def _register(self, process: ctypes.c_void_p, particle: ctypes.c_void_p) -> None:
        helper = self._pointer("_ZN19G4PhysicsListHelper20GetPhysicsListHelperEv")
        function = self._function("_ZN19G4PhysicsListHelper15RegisterProcessEP10G4VProcessP20G4ParticleDefinition")
        function.restype = ctypes.c_bool
        if not function(helper, process, particle):
            raise ToolchainError(
                "Geant4 did not take a process of the data-free physics", hint="Install the pinned geant4-pybind."
            )

    def _function(self, symbol: str) -> Any:
        try:
            return self._library[symbol]
        except AttributeError as error:
            raise ToolchainError(f"geant4-pybind has no function {symbol}", hint="Install the pinned geant4-pybind.") from error

    def _call(self, symbol: str, *arguments: Any) -> None:
        function = self._function(symbol)
        function.restype = None
        function(*arguments)

    def _pointer(self, symbol: str) -> ctypes.c_void_p:
        function = self._function(symbol)
        function.restype = ctypes.c_void_p
        return ctypes.c_void_p(function())

    def _new(self, constructor: str, *arguments: Any) -> ctypes.c_void_p:
        # Geant4 deletes its processes and models itself, so that their memory must be malloc's, as operator new's is.
        allocate = ctypes.CDLL(None).calloc
        allocate.restype, allocate.argtypes = ctypes.c_void_p, [ctypes.c_size_t, ctypes.c_size_t]
        address = ctypes.c_void_p(allocate(1, OBJECT_BYTES))
        self._call(constructor, address, *arguments)
        return address

    def _string(self, text: str) -> ctypes.c_void_p:
        """A std::string as libstdc++ lays it out: pointer, length, and 16 bytes of its own."""
        content = ctypes.create_string_buffer(text.encode())
        string = (ctypes.c_uint64 * 4)(ctypes.addressof(content), len(text), len(text))
        self._kept.append((content, string))
        return ctypes.c_void_p(ctypes.addressof(string))
