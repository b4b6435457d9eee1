"""Authority, certificates and rosters; filled by later work."""
