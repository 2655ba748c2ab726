"""Programs of parity_tests/weights/test_checkpoint_groups.py: what plain users of the frameworks do with the files.

weights: a file of only weights. checkpoint: a file of all groups. destination: the file that the user saves.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np


def torch_user(model_name: str, trained: list[str], weights: str, checkpoint: str, destination: str) -> None:
    """Load both files, and save the checkpoint with optimizers that PyTorch itself made."""
    import torch

    from backends.torch import create_model

    model = create_model(model_name, num_classes=5)
    assert [name for name, _ in model.named_parameters()] == trained
    model.load_state_dict(torch.load(weights, weights_only=True))
    sgd = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model.train()(torch.ones(2, 3, 32, 32)).sum().backward()
    sgd.step()
    loaded = torch.load(checkpoint, weights_only=True)
    model.load_state_dict(loaded["ema"])
    model.load_state_dict(loaded["weights"])
    adam = torch.optim.Adam(model.parameters())
    adam.step()
    for name, parameter in model.named_parameters():
        sgd.state[parameter]["momentum_buffer"].copy_(loaded["optimizer"]["velocity"][name])
        adam.state[parameter]["exp_avg"].copy_(loaded["optimizer"]["moment1"][name])
        adam.state[parameter]["exp_avg_sq"].copy_(loaded["optimizer"]["moment2"][name])
        adam.state[parameter]["step"].copy_(loaded["optimizer"]["steps"])
    model.load_state_dict(loaded["weights"])
    optimizers = {"opt": sgd.state_dict(), "optimizer": adam.state_dict()}
    torch.save({"model": model.state_dict(), **optimizers, "ema": loaded["ema"]}, destination)


def paddle_user(model_name: str, trained: list[str], weights: str, checkpoint: str, destination: str) -> None:
    """Load both files, and save the checkpoint with Paddle's own tensors."""
    import paddle

    from backends.paddle import create_model

    model = create_model(model_name, num_classes=5)
    assert model.set_state_dict(paddle.load(weights)) == ([], [])
    loaded = paddle.load(checkpoint)
    assert model.set_state_dict(loaded["ema"]) == ([], [])
    assert model.set_state_dict(loaded["weights"]) == ([], [])
    ema = {name: paddle.to_tensor(value) for name, value in loaded["ema"].items()}
    steps = loaded["optimizer"].pop("steps")
    slots = {
        slot: {name: paddle.to_tensor(value) for name, value in arrays.items()}
        for slot, arrays in loaded["optimizer"].items()
    }
    paddle.save({"model": model.state_dict(), "ema": ema, "optimizer": {"steps": steps, **slots}}, destination)


def mindspore_user(model_name: str, trained: list[str], weights: str, checkpoint: str, destination: str) -> None:
    """Load both files into model and optimizers, and save the parameters of all of them."""
    import mindspore
    from mindspore import nn

    from backends.mindspore import create_model

    model = create_model(model_name, num_classes=5)
    assert mindspore.load_param_into_net(model, mindspore.load_checkpoint(weights), strict_load=True) == ([], [])
    momentum = nn.Momentum(model.trainable_params(), 0.1, 0.9)
    loaded = mindspore.load_checkpoint(checkpoint)
    assert mindspore.load_param_into_net(model, loaded)[0] == []
    adam = nn.Adam(model.trainable_params())
    for optimizer in (momentum, adam):
        missing = mindspore.load_param_into_net(optimizer, loaded)[0]
        assert not [name for name in missing if name.startswith(("moments.", "moment1.", "moment2.", "global"))]
    ema = [{"name": name, "data": value} for name, value in loaded.items() if name.startswith("ema.")]
    parameters = {parameter.name: parameter for cell in (model, momentum, adam) for parameter in cell.get_parameters()}
    assert {"global_step", "beta1_power", "beta2_power"} <= parameters.keys()
    saved = [{"name": name, "data": parameter} for name, parameter in parameters.items()]
    mindspore.save_checkpoint(saved + ema, destination)


def load_safetensors(backend: str, model_name: str, path: str) -> dict[str, float]:
    """Load a safetensors file with the framework's own functions, and return a checksum of each canonical weight."""
    module: Any = importlib.import_module(f"backends.{backend}")
    model = module.create_model(model_name, num_classes=5)
    if backend == "torch":
        from safetensors.torch import load_file

        model.load_state_dict(load_file(path))
    elif backend == "paddle":
        from safetensors.paddle import load_file

        assert model.set_state_dict(load_file(path)) == ([], [])
    else:
        import mindspore

        loaded = mindspore.load_checkpoint(path, format="safetensors")
        assert mindspore.load_param_into_net(model, loaded, strict_load=True) == ([], [])
    return {name: checksum(array) for name, array in module.export_weights(model).items()}


def checksum(array: np.ndarray) -> float:
    """Return the sum of all values, each multiplied by its index, so that exchanged values change it."""
    return float(np.sum(array * np.arange(array.size).reshape(array.shape), dtype=np.float64))
