"""What both sides of a study must agree on; imports nothing else of fedward."""
