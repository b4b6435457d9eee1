"""Training that others documented, for ``fedward audit steps``."""
