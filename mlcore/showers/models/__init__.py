"""Models of showers, one in each file.

Public names: `gflash.GFlash`, by formulas; `parametrised.Parametrised`, histograms fitted to showers; `vae.VAE`, a network that
`mlcore.showers.training.train` trains. `base.ShowerModel` is what all offer, `neural.NeuralModel` what networks share.
"""
