"""The page about showers: which model is as good as the simulation, and how fast; datasets and models at hand."""
