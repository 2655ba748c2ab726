"""What is done with trained weights: predictions, reports, comparisons of runs, published tables."""
