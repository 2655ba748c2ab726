"""Each backend by itself: plain models, strict loading, the quick depthwise path, and a training step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from repro.interface.discovery import SHIPPED
from repro.weights import safetensors_file

Run = Callable[[str, str], str]

PLAIN = {
    "torch": "import torch\nfrom torch.nn import Module as Plain\n"
             "run = lambda m, x: m.eval()(torch.from_numpy(x)).detach().numpy()",
    "paddle": "import paddle\nfrom paddle.nn import Layer as Plain\n"
              "def run(m, x):\n    m.eval()\n    return m(paddle.to_tensor(x)).numpy()",
    "mindspore": "import mindspore\nfrom mindspore.nn import Cell as Plain\n"
                 "run = lambda m, x: m.set_train(False)(mindspore.Tensor(x)).asnumpy()",
}  # fmt: skip


def test_plain_model(backend: str, run_in: Run) -> None:
    """What an owner of the framework does in a notebook."""
    run_in(backend, f"""
{PLAIN[backend]}
import numpy as np
from backends.{backend} import create_model, export_weights, load_weights, forward
from repro.weights.init import random_weights
model = create_model("asymmnet_large", num_classes=16)
assert isinstance(model, Plain)
assert run(model, np.zeros((2, 3, 40, 33), np.float32)).shape == (2, 16)
small = create_model("asymmnet_small", num_classes=3, in_channels=1, width=0.6, asymmrate=2)
arrays = random_weights(small.spec, 0)
load_weights(small, arrays)
back = export_weights(small)
assert set(back) == set(arrays) and all(np.array_equal(back[n], arrays[n]) for n in arrays)
x = np.random.default_rng(0).standard_normal((2, 1, 33, 32), np.float32)
outputs = forward(small, x)
assert np.array_equal(outputs["logits"], run(small, x)), "looking at the stages changed them"
assert list(outputs) == [*small.spec.trace().stages, "logits"]
back["stem.conv.weight"][:] = 7
assert np.array_equal(export_weights(small)["stem.conv.weight"], arrays["stem.conv.weight"]), "a copy, not a view"
""")  # fmt: skip


GRADIENTS = {
    "torch": "x = torch.tensor(numbers, requires_grad=True)\n    y = layer(x)\n    y.sum().backward()\n"
             "    value, slope = y.detach().numpy(), x.grad.numpy()",
    "paddle": "x = paddle.to_tensor(numbers, stop_gradient=False)\n    y = layer(x)\n    y.sum().backward()\n"
              "    value, slope = y.numpy(), x.grad.numpy()",
    "mindspore": "x = mindspore.Tensor(numbers)\n"
                 "    value, slope = layer(x).asnumpy(), mindspore.grad(lambda x: layer(x).sum())(x).asnumpy()",
}  # fmt: skip


def test_activations_and_their_slopes_far_from_zero(backend: str, run_in: Run) -> None:
    """In training, numbers before an activation reach hundreds; where exp() overflows, a gradient must not."""
    run_in(backend, f"""
{PLAIN[backend]}
from math import erf
import numpy as np
from backends.{backend}.layers import ACTIVATIONS
sigmoid = lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))) / (1 + np.exp(-abs(x)))
FORMULAS = {{
    "none": lambda x: x, "relu": lambda x: x.clip(0), "relu6": lambda x: x.clip(0, 6),
    "hard_sigmoid": lambda x: (x + 3).clip(0, 6) / 6, "hard_swish": lambda x: x * (x + 3).clip(0, 6) / 6,
    "sigmoid": sigmoid, "silu": lambda x: x * sigmoid(x), "gelu": lambda x: x * (1 + np.vectorize(erf)(x / 2**0.5)) / 2,
}}
assert set(FORMULAS) == set(ACTIVATIONS)
numbers = np.array([-1e4, -200, -100, -89, -20, -4, -2, -0.5, 0.5, 2, 4, 20, 89, 100, 200, 1e4], np.float32)
exact, h = numbers.astype(np.float64), 1e-4
for name, formula in FORMULAS.items():
    layer = ACTIVATIONS[name]()
    {GRADIENTS[backend]}
    assert np.allclose(value, formula(exact), 1e-5, 1e-6), (name, value)
    assert np.allclose(slope, (formula(exact + h) - formula(exact - h)) / (2 * h), 1e-5, 1e-6), (name, slope)
""")  # fmt: skip


def test_bad_models_and_weights_are_refused(backend: str, run_in: Run) -> None:
    run_in(backend, f"""
import numpy as np
from backends.{backend} import create_model, export_weights, load_weights
from repro.errors import ReproError
from repro.weights.init import random_weights
model = create_model("asymmnet_small", num_classes=3)
before, arrays = export_weights(model), random_weights(model.spec, 0)
last = list(arrays)[-1]
for broken in (
    {{name: array for name, array in arrays.items() if name != last}},
    arrays | {{last: arrays[last][:-1]}},
    arrays | {{"more": arrays[last]}},
    arrays | {{last: arrays[last].astype(np.int64)}},
):
    try:
        load_weights(model, broken)
    except ReproError as error:
        assert last in str(error) or "more" in str(error), error
    else:
        raise AssertionError("loaded")
    after = export_weights(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
for name in ("asymmnet_large", "mobilenet_v3_small"):
    for bad, options in ((name + "x", {{}}), (name, {{"depth": 3}}), (name, {{"num_classes": 0}})):
        try:
            create_model(bad, **options)
        except ReproError:
            continue
        raise AssertionError(bad)
""")  # fmt: skip


STEPS = """
from dataclasses import replace
import numpy as np
from backends.{backend} import create_model, create_trainer
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights import safetensors_file
from repro.weights.init import initialise
spec = find_spec("asymmnet_small", num_classes=5, dropout=0.0, width=0.5)
spec = replace(spec, stages=(*spec.stages[:2], spec.stages[2][:2]))
images = np.random.default_rng(0).standard_normal((2, 16, 3, 64, 64)).astype(np.float32)
labels = np.random.default_rng(1).integers(0, 5, (2, 16))
trainer = create_trainer(create_model(spec), TrainSettings(momentum=0.9, weight_decay=0.1))
trainer.load_weights(initialise(spec, 0))
out = {{}}
for i in range(2):
    loss, logits = trainer.step(images[i], labels[i], 1e-3 * (i + 1))
    out |= {{f"{{i}}/loss": np.float64(loss).reshape(1), f"{{i}}/logits": logits}}
    out |= {{f"{{i}}/{{name}}": array for name, array in (trainer.weights() | trainer.state()).items()}}
out["predict"] = trainer.predict(images[0])
assert np.array_equal(out["predict"], trainer.predict(images[0]))
safetensors_file.save({path!r}, out)
"""


def test_training_steps_agree(run_in: Run, require_backend: Callable[[str], None], tmp_path: Path) -> None:
    """Loss, logits, weights, running statistics and velocities after one and two steps, decay on every weight."""
    results = {}
    for name in SHIPPED:
        require_backend(name)
        path = str(tmp_path / f"{name}.safetensors")
        run_in(name, STEPS.format(backend=name, path=path))
        results[name] = safetensors_file.load(path)[0]
    reference = results.pop("torch")
    for name, result in results.items():
        assert set(result) == set(reference)
        for key, array in result.items():
            expected = reference[key]
            assert array.shape == expected.shape, key
            assert np.isfinite(array).all(), key
            scale = max(1e-2, np.abs(expected).max())  # some gradients are zero but for rounding
            limit = 5e-3 if "velocity" in key or key == "predict" else 5e-4
            assert np.abs(array - expected).max() <= limit * scale, (name, key)


def test_running_variance_is_unbiased(run_in: Run, backend: str) -> None:
    """8 values a channel: the biased variance would be an eighth too low."""
    code = {
        "torch": "import torch\nn.train()\nn(torch.from_numpy(x))\nvar = n.running_var.numpy()",
        "paddle": "import paddle\nn.train()\nn(paddle.to_tensor(x))\nvar = n._variance.numpy()",
        "mindspore": "import mindspore\nn.set_train(True)\nn(mindspore.Tensor(x))\nvar = n.moving_variance.asnumpy()",
    }[backend]
    run_in(backend, f"""
import numpy as np
from backends.{backend}.layers import norm
from repro.specs import find_spec
n = norm(find_spec("mobilenet_v3_small"), 3)
x = np.random.default_rng(0).standard_normal((2, 3, 2, 2)).astype(np.float32)
{code}
expected = 0.99 + 0.01 * x.var((0, 2, 3), ddof=1)
assert np.abs(var - expected).max() < 1e-6, (var, expected)
""")  # fmt: skip


TORCHVISION = """
import copy
import numpy as np
import torch, torchvision
from backends.torch import create_model, load_weights
from repro.weights.init import random_weights
for name, size in (("mobilenet_v3_large", 64), ("mobilenet_v3_small", 65), ("mobilenet_v3_small", 96)):
    ours = create_model(name)
    theirs = getattr(torchvision.models, name)().eval()
    arrays = random_weights(ours.spec, 3)
    load_weights(ours, arrays)
    # both run through their weights in the order of the forward pass; the SE block and the head are named differently
    own = {k: v for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert len(own) == len(arrays)
    for (key, target), (source, array) in zip(own.items(), arrays.items()):
        assert target.numel() == array.size, (key, source)
        target.copy_(torch.from_numpy(array).reshape(target.shape))
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        a, b = ours.double().eval()(x.double()), theirs.double()(x.double())
    assert (a - b).abs().max() <= 1e-12 * b.abs().max(), name
"""


def test_mobilenet_v3_is_torchvisions(run_in: Run, require_backend: Callable[[str], None]) -> None:
    require_backend("torch")
    run_in("torch", TORCHVISION)


def test_a_deep_network_trains_as_a_graph(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """More than 1,000 calls deep, where MindSpore by itself stops."""
    require_backend("mindspore")
    run_in("mindspore", """
import numpy as np
from backends.mindspore import create_model, create_trainer
from repro.interface import TrainSettings
images = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
trainer = create_trainer(create_model("rdnet_tiny", num_classes=2), TrainSettings())
loss, logits = trainer.step(images, np.arange(2), 0.1)
assert np.isfinite(loss) and logits.shape == (2, 2)
""")  # fmt: skip


def test_a_long_sum_is_the_same_in_every_call(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """MindSpore's own of a whole vector is not."""
    require_backend("mindspore")
    run_in("mindspore", """
import mindspore
import numpy as np
from backends.mindspore.trainer import deterministic_sum
compiled = mindspore.jit(deterministic_sum)
for size in (7, 4096, 5000, 434_650):
    numbers = np.random.default_rng(0).random(size, np.float32)
    found = {float(compiled(mindspore.Tensor(numbers)).asnumpy()) for call in range(60)}
    assert len(found) == 1 and abs(found.pop() / numbers.astype(np.float64).sum() - 1) < 1e-5, size
""")  # fmt: skip


def test_mindspore_waits_on_one_core(run_in: Run, require_backend: Callable[[str], None]) -> None:
    """Its eager mode's threads wait in loops, which would keep others from the cores."""
    require_backend("mindspore")
    run_in(
        "mindspore",
        """
import os
import numpy as np
from backends.mindspore import create_model, create_trainer, forward
from repro.interface import TrainSettings
cores = lambda: {frozenset(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")}
model = create_model("asymmnet_small", num_classes=3)
before, seen = cores(), []
images, labels = np.zeros((2, 3, 32, 32), np.float32), np.zeros(2, np.int64)
model.classifier.register_forward_hook(lambda *_: seen.append(cores()))
forward(model, images)
assert cores() == before
trainer = create_trainer(model, TrainSettings(compiled=False))
trainer.step(images, labels, 0.1)
trainer.predict(images)
assert cores() == before
assert len(seen) == 3 and all(len(found) == 1 and len(*found) == 1 for found in seen), seen
""",
    )


def test_all_backends_drop_the_same(run_in: Callable[[str, str], str], require_backend: Callable[[str], None]) -> None:
    """In compiled steps, too, in batches of another size, and in a process that goes on from the second epoch."""
    losses: dict[tuple[str, int], list[float]] = {}
    for backend in ("torch", "paddle", "mindspore"):
        require_backend(backend)
        for start in (1, 2):
            code = DROPPING.format(backend=backend, start=start)
            losses[backend, start] = json.loads(run_in(backend, code).splitlines()[-1])
    once = losses["torch", 1]
    assert len(set(once)) == len(once)
    for (backend, start), found in losses.items():
        np.testing.assert_allclose(found, once[-len(found) :], rtol=2e-5, err_msg=f"{backend} from epoch {start}")
        assert found == losses[backend, 1][-len(found) :]


DROPPING = """
import json
from dataclasses import replace
import numpy as np
from backends.{backend} import create_model, create_trainer, set_dropout_source, export_weights
from repro.interface.dropout_source import SeededDropout
from repro.interface import TrainSettings
from repro.specs import find_spec
from repro.weights.init import initialise
spec = find_spec("efficientnet_v2_b0", num_classes=4, in_channels=1, dropout=0.5, drop_path=0.5)
spec = replace(spec, stages=[[replace(block, depth=1) for block in stage] for stage in spec.stages[:3]])
model, drops = create_model(spec), SeededDropout(3)
set_dropout_source(model, drops)
trainer = create_trainer(model, TrainSettings(momentum=0.0))
images = np.random.default_rng(0).standard_normal((6, 1, 32, 32)).astype(np.float32)
losses = []
for epoch in range({start}, 4):
    drops.begin_epoch(epoch)
    for count in (4, 4, 6) if epoch == 3 else (4, 4):
        trainer.load_weights(initialise(spec, 0))  # what is dropped is looked at, and nothing else
        losses.append(trainer.step(images[:count], np.arange(count) % 4, 0.01)[0])
assert export_weights(model).keys() == spec.weights.keys()
print(json.dumps(losses))
"""
