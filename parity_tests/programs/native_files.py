"""Programs of parity_tests/weights/test_native_files.py: what a plain user of each framework writes.

Each program loads the file `path` into a network, saves its state again as `copy`, and returns the logits of an image
of ones.
"""

from __future__ import annotations


def use_torch(path: str, copy: str) -> list[float]:
    """Load, save and compute with PyTorch."""
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4)).eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    torch.save(model.state_dict(), copy)
    return model(torch.ones(1, 3, 3, 3))[0].tolist()


def use_paddle(path: str, copy: str) -> list[float]:
    """Load, save and compute with PaddlePaddle."""
    import paddle
    from paddle import nn

    model = nn.Sequential(nn.Conv2D(3, 4, 3, bias_attr=False), nn.BatchNorm2D(4), nn.Flatten(), nn.Linear(4, 4))
    model.eval()
    assert model.set_state_dict(paddle.load(path)) == ([], [])
    paddle.save(model.state_dict(), copy)
    return model(paddle.ones([1, 3, 3, 3]))[0].tolist()


def use_mindspore(path: str, copy: str) -> list[float]:
    """Load, save and compute with MindSpore."""
    import mindspore
    from mindspore import nn

    model = nn.SequentialCell(nn.Conv2d(3, 4, 3, pad_mode="valid"), nn.BatchNorm2d(4), nn.Flatten(), nn.Dense(4, 4))
    model.set_train(False)
    assert mindspore.load_param_into_net(model, mindspore.load_checkpoint(path), strict_load=True) == ([], [])
    mindspore.save_checkpoint(model, copy)
    return model(mindspore.ops.ones((1, 3, 3, 3))).asnumpy()[0].tolist()
