"""Models of showers, one in each file.

Public names: `gflash.GFlash`, by formulas.
"""
