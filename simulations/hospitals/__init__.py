"""Where simulated hospitals get their patients: dealt, generated, or read from a folder."""
