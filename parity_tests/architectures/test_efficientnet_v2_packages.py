"""EfficientNetV2 against torchvision, timm and MindCV, on shared random weights."""

from __future__ import annotations

from collections.abc import Callable

from parity_tests.support.packages import FILL

Run = Callable[[str, str], str]
Require = Callable[[str], None]


TORCH = """
import numpy as np
import torch
from dataclasses import replace
from backends.torch import create_model
from repro.specs import find_spec
from repro.weights.init import random_weights

def pair(spec, theirs):
    with torch.device("meta"):  # both then take the same float64 tensors over
        ours, them = create_model(spec), theirs()
    arrays = {name: torch.from_numpy(array).double() for name, array in random_weights(ours.spec, 3).items()}
    for model in (ours, them):
        own = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
        assert [value.shape for value in own.values()] == [array.shape for array in arrays.values()]
        # both in the order of the forward pass
        model.load_state_dict(dict(zip(own, arrays.values())), strict=False, assign=True)
    return ours.eval(), them.eval()

@torch.no_grad()
def difference(ours, them, height, width):
    torch.manual_seed(0)
    x = torch.randn(1, 3, height, width, dtype=torch.float64)
    a, b = ours(x), them(x)
    assert a.shape == b.shape == (1, 7)
    return ((a - b).abs().max() / b.abs().max()).item()
"""


def test_equals_torchvision(run_in: Run, require_backend: Require) -> None:
    """In float64, epsilon and dropout included; the larger sizes are counted. Where a convolution of stride 2 meets an
    even side, torchvision pads unlike the authors: 65 and 33 stay odd all the way."""
    require_backend("torch")
    run_in("torch", TORCH + """
import torchvision
theirs = lambda: torchvision.models.efficientnet_v2_s(num_classes=7)
spec = find_spec("efficientnet_v2_s", num_classes=7)
ours, them = pair(spec, theirs)
assert difference(ours, them, 64, 33) < 1e-12  # even and odd all the way
assert them.classifier[0].p == spec.dropout
norms = [module for module in them.modules() if isinstance(module, torch.nn.BatchNorm2d)]
assert {(norm.eps, norm.momentum) for norm in norms} == {(spec.norm_eps, spec.norm_momentum)}
rates = [block.stochastic_depth.p for stage in them.features[1:-1] for block in stage]
assert np.allclose(rates, [spec.drop_path * block.depth for stage in spec.stages for block in stage], atol=1e-12)
same, them = pair(replace(spec, padding="same"), theirs)
assert difference(same, them, 64, 64) > 1e-4
assert difference(same, them, 65, 33) < 1e-12
""")  # fmt: skip


def test_equals_timms_port_of_the_authors_network(run_in: Run, require_backend: Require) -> None:
    """tf_efficientnetv2, padded as in TensorFlow, in float64: a size of either kind. timm's own, efficientnetv2, has
    torchvision's padding and another epsilon, 1e-5."""
    require_backend("torch")
    run_in("torch", TORCH + """
import timm
for size in ("b0", "s"):
    spec = find_spec(f"efficientnet_v2_{size}_same", num_classes=7)
    ours, them = pair(spec, lambda: timm.create_model(f"tf_efficientnetv2_{size}", pretrained=False, num_classes=7))
    assert difference(ours, them, 64, 33) < 1e-12, size  # even and odd all the way
spec = find_spec("efficientnet_v2_s", num_classes=7)
ours, them = pair(spec, lambda: timm.create_model("efficientnetv2_s", pretrained=False, num_classes=7))
assert difference(ours, them, 64, 33) > 1e-6
for norm in (module for module in them.modules() if isinstance(module, torch.nn.BatchNorm2d)):
    assert norm.eps == 1e-5
    norm.eps = 1e-3
assert difference(ours, them, 64, 33) < 1e-12
""")  # fmt: skip


def test_equals_mindcv(run_in: Run, require_backend: Require) -> None:
    """MindCV leaves MindSpore's defaults alone: padding "same", as the authors have it, and an epsilon of 1e-5, which
    they have not. 1e-5 is a hundred roundings of float32."""
    require_backend("mindspore")
    run_in("mindspore", FILL + """
from dataclasses import replace
import numpy as np
from mindspore import Tensor, nn
from mindcv.models import efficientnet
from backends.mindspore import create_model, load_weights
from repro.specs import find_spec
from repro.weights.init import random_weights

def difference(spec, theirs, height, width):
    ours, arrays = create_model(spec), random_weights(spec, 3)
    load_weights(ours, arrays)
    layers = [cell for _, cell in theirs.cells_and_names() if isinstance(cell, (nn.Conv2d, nn.BatchNorm2d, nn.Dense))]
    fill(layers, spec, arrays)
    x = Tensor(np.random.default_rng(0).standard_normal((1, 3, height, width)).astype(np.float32))
    a, b = (model.set_train(False)(x).asnumpy() for model in (ours, theirs))
    assert a.shape == b.shape == (1, 7)
    return np.abs(a - b).max() / np.abs(b).max()

spec = find_spec("efficientnet_v2_s_same", num_classes=7)
theirs = efficientnet.efficientnet_v2_s(num_classes=7)
assert difference(spec, theirs, 64, 64) > 1e-4
equal = replace(spec, norm_eps=1e-5)
assert difference(equal, theirs, 64, 64) < 1e-5
assert difference(equal, theirs, 65, 47) < 1e-5
assert difference(replace(equal, padding=None), theirs, 64, 64) > 1e-4
""")  # fmt: skip
