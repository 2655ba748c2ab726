"""The parity ladder: what the backends compute, compared rung by rung (compare.py judges, ladder.py climbs)."""
