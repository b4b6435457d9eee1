"""The books: ledgers of sites and the coordinator's log, checked and reconciled."""
