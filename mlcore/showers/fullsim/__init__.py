"""Full simulation of showers by Geant4, from the package geant4-pybind (extra ``geant4``).

Public names: a `Plan` says which showers; `produce` makes them in shards, by several processes, and goes on where a run ended;
`validate` compares a simulation with what theory expects and gives a `Validation`.
"""

from mlcore.showers.fullsim.plan import Plan
from mlcore.showers.fullsim.production import Produced, produce
from mlcore.showers.fullsim.validation import Validation, validate

__all__ = ["Plan", "Produced", "Validation", "produce", "validate"]
