"""Programs of parity_tests/weights/test_porting.py: training checkpoints as plain users of the frameworks save them."""

from __future__ import annotations


def torch_checkpoint(weights: str, destination: str) -> None:
    """Save the weights as DataParallel names them, next to an optimizer and a schedule of another layer."""
    import collections

    import torch

    state = torch.load(weights, weights_only=True)
    layer = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6])
    layer(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = collections.OrderedDict((f"module.{name}", torch.nn.Parameter(value)) for name, value in state.items())
    checkpoint = {"epoch": 3, "arch": "x", "best": 0.5, "optimizer": optimizer.state_dict(), "state_dict": state}
    torch.save({**checkpoint, "schedule": schedule.state_dict()}, destination)


def paddle_checkpoint(weights: str, destination: str) -> None:
    """Save the weights next to an optimizer of another layer."""
    import paddle

    layer = paddle.nn.Linear(3, 2)
    optimizer = paddle.optimizer.Adam(0.1, parameters=layer.parameters())
    layer(paddle.ones([1, 3])).sum().backward()
    optimizer.step()
    paddle.save({"opt": optimizer.state_dict(), "model": paddle.load(weights), "epoch": 3}, destination)
