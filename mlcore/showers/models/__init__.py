"""Models of showers, one in each file.

Public names: `gflash.GFlash`, by formulas; `parametrised.Parametrised`, histograms fitted to showers; the networks that
`mlcore.showers.training.train` trains: `vae.VAE`, `transformer.Transformer`, and `distilled.Distilled`, the transformer in one to
four steps. `base.ShowerModel` is what all offer, `neural.NeuralModel` what networks share, `scales.Scales` how energies become
numbers of size 1.
"""
