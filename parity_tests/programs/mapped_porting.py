"""Programs of parity_tests/weights/test_mapped_porting.py: user models that load and save files by their framework."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

MODELS = Path(__file__).parent / "user_models"


def images() -> np.ndarray:
    """The input of all models."""
    return np.random.default_rng(0).standard_normal((4, 3, 6, 6), np.float32)


def torch(source: str, destination: str) -> list[list[float]]:
    """Return the logits of the model in PyTorch with the weights in `source`, or with random ones; save the weights."""
    sys.path.insert(0, str(MODELS))
    import torch
    import torch_ported  # type: ignore[import-not-found]

    model = torch_ported.Net()
    if source:
        model.load_state_dict(torch.load(source, weights_only=True), strict=True)
    else:
        generator = torch.Generator().manual_seed(1)
        for name, array in model.state_dict().items():
            if array.is_floating_point():
                values = torch.randn(array.shape, generator=generator) * 0.3
                array.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    torch.save(model.state_dict(), destination)
    return model.eval()(torch.from_numpy(images())).tolist()


def paddle(source: str, destination: str) -> list[list[float]]:
    """Return the logits of the model in PaddlePaddle with the weights in `source`, and save them."""
    sys.path.insert(0, str(MODELS))
    import paddle
    import paddle_ported  # type: ignore[import-not-found]

    model: Any = paddle_ported.Net()
    assert model.set_state_dict(paddle.load(source)) == ([], [])
    paddle.save(model.state_dict(), destination)
    model.eval()
    return model(paddle.to_tensor(images())).tolist()


def mindspore(source: str, destination: str) -> list[list[float]]:
    """Return the logits of the model in MindSpore with the weights in `source`, and save them."""
    sys.path.insert(0, str(MODELS))
    import mindspore
    import mindspore_ported  # type: ignore[import-not-found]

    model: Any = mindspore_ported.Net()
    assert mindspore.load_param_into_net(model, mindspore.load_checkpoint(source), strict_load=True) == ([], [])
    mindspore.save_checkpoint(model, destination)
    model.set_train(False)
    return model(mindspore.Tensor(images())).asnumpy().tolist()
