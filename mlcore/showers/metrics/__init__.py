"""How good a model's showers are, as the CaloChallenge measures it; one measure in each file.

Public names: `report.evaluate` gives all measures with their floors and errors as a `report.Report`.
`features.Features` (layer energies, centres, widths, sparsity), `separation.separation_power`, `classifier.train_classifier`
(AUC), `frechet.frechet_distance` (FPD), `kernel_distance.kernel_distance` (KPD), `neighbours.neighbour_measures` (precision,
recall, density, coverage), `memorisation.memorisation` and `timing.time_per_shower`.

Each takes the truth first. A figure without the floor beside it, the same measure between two samples of the truth, says little.
"""
