"""The registry of models that a study may name."""
