"""The hospital's side of the protocol: cohort, gate, ledger, kernels, release."""
