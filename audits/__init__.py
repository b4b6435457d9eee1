"""Checks of what was spent and released; filled by later work."""
