"""The study definition: what all sites agree on before anything is computed."""
