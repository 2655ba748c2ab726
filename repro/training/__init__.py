"""The common training: recipe, schedule, meters, loop, run folder and curves, the same for every backend."""
