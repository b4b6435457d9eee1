"""From noised sums over held-out patients to figures of a model with honest intervals."""
