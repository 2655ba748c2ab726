"""Uses of trained weights: predictions, reports, comparisons of runs, published tables, exported networks."""
