"""The Flower ClientApp: carries a query to the vault and its release back."""
