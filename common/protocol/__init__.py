"""The closed list of queries, their releases, and the frame in which both travel."""
