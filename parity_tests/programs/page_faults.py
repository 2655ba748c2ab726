"""Print the page faults of ten large arrays, before and after freed memory is kept."""

from __future__ import annotations

import resource

from repro.memory import keep_freed_memory


def page_faults() -> int:
    """Make ten arrays of 32 MiB, and return the page faults."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        bytes(b"x" * 2**25)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    page_faults()
    returned = page_faults()
    assert keep_freed_memory()
    page_faults()
    print(returned, page_faults())
