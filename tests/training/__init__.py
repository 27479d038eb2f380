"""The training loop, its state, its surroundings."""
