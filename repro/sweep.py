"""The former name of the command repro.ablation."""

from repro.ablation import main
from repro.cli import run_command

if __name__ == "__main__":
    run_command(main)
