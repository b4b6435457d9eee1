"""Meters that tell whether what leaves a vault looks as its plan says."""
