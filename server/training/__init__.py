"""From summed releases to the next model: server steps, their state and its checkpoints."""
