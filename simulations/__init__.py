"""Many hospitals on one machine: grids, hospitals, experiments and their report."""
