"""What tells a ledger's file from others, and how much of one is read; without any library."""

APPLICATION = 0x66774C31
"""SQLite's ``application_id`` of a ledger file: "fwL1"."""
MOST_ENTRY_BYTES = 1 << 16
"""Longest text of one entry that is written or read."""
LOCK_ENDING = ".lock"
"""What the name of a ledger's lock, in which its witness is, has after the ledger's own."""
BESIDE = ("-wal", "-shm", "-journal", LOCK_ENDING)
"""What the names of the files that belong to a ledger have after its own."""
