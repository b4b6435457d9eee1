"""Known attacks, run against a study's own training code."""
