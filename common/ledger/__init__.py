"""What a site's ledger says: entries, their chain, its signed head, and their form as text."""
