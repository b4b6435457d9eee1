"""Events, accounting, calibration and noise: the only source of a sigma."""
