"""The parity ladder: what the backends compute, compared rung by rung (ladder.py runs it, judge.py gives verdicts).

`check` compares user models: `repro.parity.check(torch="torch_net:Net", paddle="paddle_net:Net")`.
"""

from repro.parity.library import Comparison, check

__all__ = ["Comparison", "check"]
