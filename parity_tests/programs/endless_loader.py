"""Load batches in two processes until Ctrl-C: `python -m parity_tests.programs.endless_loader`."""

from __future__ import annotations

from itertools import count

from repro.data import Loader, Transform, open_dataset

if __name__ == "__main__":
    try:
        with Loader(open_dataset("digits"), batch_size=8, workers=2) as loader:
            for epoch in count():
                for step, _ in enumerate(loader.train(epoch, Transform(image_size=8))):
                    if epoch == 0 and step == 30:
                        print("running", flush=True)
    except KeyboardInterrupt:
        print("interrupted")
