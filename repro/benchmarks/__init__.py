"""Speed measurements in turn with peers: steps, data, the training loop, the start, conversions of weights."""
