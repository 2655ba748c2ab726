"""Judge every report of the docket, and print the verdicts next to the rulings: `python -m parity_tests.docket`."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack

from parity_tests.docket.reports import judge_reports, load_reports, precision_and_recall
from repro.parity.variants import start_workers

EXPECTED_AGREEMENT = 0.95  # the exit code is 0 if at least this share of the verdicts agrees with the rulings


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m parity_tests.docket", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="judge only reports with TEXT in address or case")
    text = parser.parse_args(argv).only
    reports = [report for report in load_reports() if text in f"{report.report} {report.case}"]
    start = time.monotonic()
    outcomes = []
    with ExitStack() as stack:
        workers = start_workers(None, stack)
        print(", ".join(f"{name} {worker.version}" for name, worker in workers.items()) + "\n")
        print(
            "| report | operator and settings | frameworks | ruling | by | verdict | |\n|---|---|---|---|---|---|---|"
        )
        for outcome in judge_reports(reports, workers):
            report, finding = outcome.report, outcome.finding
            ruling = f"{report.ruling} {report.culprit}".rstrip()
            verdict = f"{finding.verdict} {' '.join(finding.culprits)}".rstrip()
            mark = "" if outcome.agrees else "DISAGREES"
            address = f"[{report.short_name}]({report.report})"
            row = (address, f"`{report.case}`", report.frameworks, ruling, report.by, verdict, mark)
            print(f"| {' | '.join(row)} |", flush=True)
            outcomes.append(outcome)
    agreeing = sum(outcome.agrees for outcome in outcomes)
    groups = {
        "all reports": outcomes,
        "those that maintainers ruled on": [outcome for outcome in outcomes if outcome.report.by == "maintainers"],
        "held out": [outcome for outcome in outcomes if outcome.report.held_out],
    }
    for title, group in groups.items():
        if group:
            print(f"\n{title}:\n\n{precision_and_recall(group)}")
    print(f"\n{len(outcomes)} reports, {agreeing} verdicts agree, {time.monotonic() - start:.0f} s")
    return 0 if outcomes and agreeing >= EXPECTED_AGREEMENT * len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
