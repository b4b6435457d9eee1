"""What an attack on the real training path can learn, measured."""
