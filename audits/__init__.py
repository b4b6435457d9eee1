"""What was spent, whether it is right, and whether an attack would have worked."""
