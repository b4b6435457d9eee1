"""Readers that turn a hospital's files into a cohort of the study's schema."""
