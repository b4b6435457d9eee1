"""Sums in the ring Z/2^64: the one form in which anything leaves a site."""
