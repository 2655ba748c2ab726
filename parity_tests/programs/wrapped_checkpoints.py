"""Programs of parity_tests/weights/test_wrapped_checkpoints.py: checkpoints as training scripts write them."""

from __future__ import annotations


def averaged_model(model_name: str, checkpoint: str, weights: str, average: str) -> None:
    """Save a model with its AveragedModel and a metric; and the two state dicts in files of their own."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    from backends.torch import create_model

    model = create_model(model_name, num_classes=5)
    averaged = AveragedModel(torch.nn.DataParallel(model))
    averaged.update_parameters(torch.nn.DataParallel(create_model(model_name, num_classes=5)))
    averaged.update_parameters(torch.nn.DataParallel(create_model(model_name, num_classes=5)))
    groups = {"model": model.state_dict(), "model_ema": averaged.state_dict(), "best_acc1": torch.tensor(40.0)}
    torch.save(groups, checkpoint)
    torch.save(model.state_dict(), weights)
    torch.save(averaged.module.module.state_dict(), average)


def package_optimizer(package: str, expression: str, checkpoint: str, grouped: bool) -> None:
    """Save a package's model with SGD whose momentum buffers are twice the parameters.

    grouped: put vectors, which get no weight decay, into a group of parameters of their own.
    """
    import torch

    from parity_tests.programs.packages import PACKAGES

    model = PACKAGES[package]().build(expression)
    parameters = list(model.parameters())
    groups = [{"params": parameters}]
    if grouped:
        groups = [{"params": [p for p in parameters if p.ndim < 2]}, {"params": [p for p in parameters if p.ndim > 1]}]
    optimizer = torch.optim.SGD(groups, 0.1, momentum=0.9)
    for parameter in parameters:
        optimizer.state[parameter]["momentum_buffer"] = 2 * parameter.detach()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
