"""Programs of parity_tests/commands/test_classifier.py."""

from __future__ import annotations

from pathlib import Path


def predict_digits(backend: str, checkpoint: str) -> list[list[float]]:
    """Return the class probabilities of the first 40 embedded digits."""
    from repro.data.digits import digits_source
    from repro.evaluation.classifier import read_classifier
    from repro.evaluation.prediction import predict_images

    (part,) = digits_source().subsets
    images = [part.image(index) for index in range(40)]
    return predict_images(read_classifier(Path(checkpoint)), backend, images).tolist()
