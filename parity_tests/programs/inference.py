"""Program of parity_tests/backends/test_inference.py."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np

from parity_tests.programs.common import random_images
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import random_weights


def predictions(model: str, height: int, width: int, temporary: str) -> dict[str, object]:
    """Predictions of a Paddle trainer, eager and by a graph, and the files that they leave in the folder `temporary`.

    The errors are relative to the root mean square of the eager logits.
    """
    import paddle

    from backends.paddle import create_model, create_trainer, inference

    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    spec = find_spec(model, num_classes=5)
    weights = random_weights(spec, 0)
    images = random_images((6, spec.in_channels, height, width), 0).astype(np.float32)
    eager = create_trainer(create_model(spec), TrainSettings(momentum=0.0, fused_evaluation=False))
    fused = create_trainer(create_model(spec), TrainSettings(momentum=0.0, fused_evaluation=True))
    errors: dict[str, float] = {}

    def compare(case: str, batch: np.ndarray) -> None:
        expected, actual = eager.predict(batch), fused.predict(batch)
        assert actual.shape == expected.shape and actual.dtype == np.float32
        assert np.array_equal(actual, fused.predict(batch))
        errors[case] = float(np.abs(actual - expected).max() / np.sqrt(np.square(expected).mean()))

    def graphs() -> int:
        return len(fused.evaluation.infer.predictors)

    for trainer in (eager, fused):
        trainer.load_weights(weights)
    compare("initial weights", images)
    compare("another batch size", images[:1])
    assert graphs() == 1
    before = fused.predict(images)
    for trainer in (eager, fused):
        trainer.step(images, np.arange(6) % 5, 0.01)
    assert graphs() == 0
    assert not np.array_equal(before, fused.predict(images))
    compare("after a step", images)
    for trainer in (eager, fused):
        trainer.update({name: weights[name] for name in eager.parameters}, 0.01)
    compare("after an update", images)
    for trainer in (eager, fused):
        trainer.load_weights(random_weights(spec, 1))
    compare("other weights", images)
    compare("another image size", images[:, :, : height - 1])
    assert graphs() == 2

    inference.EAGER_PIXELS = 2 * images[:, 0].size
    chosen = create_trainer(create_model(spec), TrainSettings())
    paths = []
    for number in range(7):
        if number in (0, 4):
            chosen.load_weights(random_weights(spec, 1))
        chosen.predict(images)
        paths.append(len(chosen.evaluation.infer.predictors))

    messages = io.StringIO()
    with contextlib.redirect_stderr(messages):
        setattr(inference.Inference, "_create_predictor", lambda self, shape: 1 / 0)  # noqa: B010
        chosen.load_weights(random_weights(spec, 1))
        fallbacks = [np.array_equal(chosen.predict(images), eager.predict(images)) for _ in range(4)]
    inference.can_infer = lambda: False
    fused.load_weights(random_weights(spec, 1))
    on_gpu = np.array_equal(fused.predict(images), eager.predict(images))
    translated = Path.home() / ".cache/paddle/to_static_tmp" / str(os.getpid())
    return {
        "errors": errors, "paths": paths, "fallbacks": fallbacks, "messages": messages.getvalue(), "on a GPU": on_gpu,
        "left behind": [str(path) for path in [*Path(temporary).rglob("*"), translated] if path.exists()],
        "device": paddle.get_device(),
    }  # fmt: skip


def errors_of_graphs(size: int) -> dict[str, float]:
    """The errors of the graphs of a small network of each family, and of one whose shortcuts are padded by channels.

    They are relative to the largest eager logit.
    """
    import paddle

    from backends.paddle import create_model, inference, load_weights
    from repro.specs import smallest_variants

    specs = [spec for name in smallest_variants() if (spec := find_spec(name, num_classes=5)).params < 30_000_000]
    specs.append(find_spec("resnet110_cifar", num_classes=5, depth=8))
    errors = {}
    for number, spec in enumerate(specs):
        model = create_model(spec)
        load_weights(model, random_weights(spec, number))
        model.eval()
        images = random_images((3, spec.in_channels, size, size), number).astype(np.float32)
        infer = inference.Inference(model)
        for _ in range(3):  # memory that an operator has overwritten may show later
            logits = infer(images)["logits"]
        with paddle.no_grad():
            expected = model(paddle.to_tensor(images)).numpy()
        errors[spec.name] = float(np.abs(logits - expected).max() / np.abs(expected).max())
    return errors
