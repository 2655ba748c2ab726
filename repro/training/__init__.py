"""Training from a recipe to a run folder, the same for every backend."""
