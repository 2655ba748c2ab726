"""The parity ladder: what the backends compute, compared rung by rung (ladder.py runs it, judge.py gives verdicts)."""
