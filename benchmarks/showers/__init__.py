"""The parts of the showers' benchmark: samples of the full simulation, quality, times."""
