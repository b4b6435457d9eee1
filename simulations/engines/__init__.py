"""Ways to run the two Flower apps: in this process, over Ray actors, or under Flower's engine."""
