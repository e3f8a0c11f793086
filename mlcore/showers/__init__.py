"""Showers in calorimeters: geometry, data sets, simulation, models and measures of their quality."""
