"""Sample studies, shipped with the package."""
