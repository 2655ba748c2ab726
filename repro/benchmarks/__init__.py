"""Measurements beside peers that take turns: steps, data, the training loop, the start, conversions of weights."""
