"""The training step: forward pass, loss, gradients, all-reduce, clipping, optimizer, EMA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from backends.torch.inference import Evaluation, fused_convolutions, on_cpu
from backends.torch.introspection import forward
from backends.torch.model import export_weights, load_weights, native_tensors
from backends.torch.native_weights import NAMES
from backends.torch.optimizers import SLOTS, create_optimizer
from backends.torch.processes import all_reduce_sum_in_place, ordered_sum
from repro.arrays import Arrays
from repro.interface import TrainSettings
from repro.interface.loss_scale import LossScale
from repro.interface.parts import split_batch, tree_sum


class Trainer:
    """A PyTorch model with its optimizer; the methods are those of repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        self.model = model
        self.settings = settings
        trained = settings.trained_shapes(model.spec)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in trained)
        self.parameters = {name: parameter for name, parameter in model.named_parameters() if name in trained}
        frozen = settings.frozen_norms(model.spec)
        self.frozen_norms = [module for name, module in model.named_modules() if name in frozen]
        tensors = native_tensors(model)
        self.statistics = [tensors[name] for name in NAMES.native_statistics(model.spec.weights, frozen)]
        # on a CPU, convolutions are faster where the channels of a pixel lie side by side
        self.layout = torch.channels_last if on_cpu(model) else torch.contiguous_format
        model.to(memory_format=self.layout)
        is_fused = settings.fused_evaluation if settings.precision == "float32" else False
        self.evaluation = Evaluation(model, is_fused=is_fused)
        self.optimizer = create_optimizer(list(self.parameters.values()), settings)
        self.loss_scale = LossScale() if settings.scales_loss else None
        self.steps = 0
        self._reset_ema()

    def _reset_ema(self) -> None:
        averaged = {} if self.settings.ema_decay is None else self.parameters
        self.ema = {name: parameter.detach().clone() for name, parameter in averaged.items()}

    def step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> tuple[float, np.ndarray]:
        """Make one training step. Returns the mean cross-entropy and the logits before the update."""
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()
        if self.settings.in_parts or self.settings.world_size > 1:
            loss, logits = self._backward_in_parts(images, targets)
        else:
            loss, logits = self._backward(images, targets)
        self._update(lr)
        return loss.item(), logits.numpy(force=True)

    def _backward(self, images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the gradients. Returns the mean cross-entropy and the logits."""
        logits = self._logits(self.model, images)
        loss = self._cross_entropy(logits, targets)
        if self.loss_scale is None:
            loss.backward()
        else:
            (loss * self.loss_scale.scale).backward()
            for parameter in self._with_gradient:
                parameter.grad /= self.loss_scale.scale
        return loss.detach(), logits.detach()

    @property
    def _with_gradient(self) -> list[Any]:
        """Return the parameters that have influenced the loss."""
        return [parameter for parameter in self.parameters.values() if parameter.grad is not None]

    def _backward_in_parts(self, images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Average gradients and running statistics over the parts of all ranks.

        Returns the mean cross-entropy of all ranks and the logits of this one.
        """
        before = [statistic.clone() for statistic in self.statistics]
        logits = []

        def results() -> Iterator[torch.Tensor]:
            """Yield the loss, gradients and running statistics of each part as one vector, for a single message."""
            for part in split_batch(images, targets, self.settings.parts):
                self.optimizer.zero_grad()
                for statistic, value in zip(self.statistics, before, strict=True):
                    statistic.copy_(value)
                loss, part_logits = self._backward(*part)
                logits.append(part_logits)
                tensors = [loss, *(parameter.grad for parameter in self._with_gradient), *self.statistics]
                yield torch.cat([tensor.reshape(-1) for tensor in tensors])

        total = tree_sum(results())
        if self.settings.deterministic_shards is not None:
            total = ordered_sum(total, self.settings.world_size)
        elif self.settings.world_size > 1:
            total = all_reduce_sum_in_place(total)
        mean = total / (self.settings.world_size * self.settings.parts)
        averaged = [parameter.grad for parameter in self._with_gradient] + self.statistics
        loss, *means = mean.split([1, *(tensor.numel() for tensor in averaged)])
        for tensor, values in zip(averaged, means, strict=True):
            tensor.copy_(values.view(tensor.shape))
        return loss, torch.cat(logits)

    def _logits(self, network: Any, images: np.ndarray) -> torch.Tensor:
        """Run a network in the precision of the settings. Returns float32 logits."""
        tensor = torch.as_tensor(images).contiguous(memory_format=self.layout)
        if self.settings.precision == "float32":
            return network(tensor)
        with self._autocast():
            return network(tensor).float()

    def _autocast(self) -> torch.autocast:
        precision = getattr(torch, self.settings.precision)
        return torch.autocast(torch.get_default_device().type, precision, enabled=precision != torch.float32)

    def _cross_entropy(self, logits: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        return F.cross_entropy(logits, torch.as_tensor(targets), label_smoothing=self.settings.label_smoothing)

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cross-entropy, and its gradient with respect to the logits."""
        tensor = torch.as_tensor(logits).requires_grad_()
        loss = self._cross_entropy(tensor, targets)
        return loss.item(), torch.autograd.grad(loss, tensor)[0].numpy(force=True)

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        """Clip the given gradients, by canonical name, and update weights and EMA."""
        for name, parameter in self.parameters.items():
            parameter.grad = torch.empty_like(parameter).copy_(torch.as_tensor(gradients[name]))
        self._update(lr)

    def _update(self, lr: float) -> None:
        """Clip the gradients that the parameters hold, and update weights and EMA."""
        # running statistics, which the forward pass has updated, stay updated in a skipped step, as with GradScaler
        if self.loss_scale is not None and not self.loss_scale.update(self._gradients_are_finite()):
            self.optimizer.zero_grad()
            return
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()  # now, so that a large network's gradients occupy no memory between steps
        for name, average in self.ema.items():
            average.lerp_(self.parameters[name].detach(), self.settings.ema_weight(self.steps))
        self.steps += 1

    def _gradients_are_finite(self) -> bool:
        return bool(torch.stack([parameter.grad.isfinite().all() for parameter in self._with_gradient]).all())

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return logits in evaluation mode."""
        with torch.inference_mode():
            return self._logits(self.evaluation.network(), images).numpy(force=True)

    def predict_modules(self, images: np.ndarray) -> Arrays:
        """Return what every module computes in evaluation mode."""
        network = self.evaluation.network()
        with self._autocast():
            results = forward(network, images, every_module=True)
        hidden = fused_convolutions(network, self.model)
        return {name: array for name, array in results.items() if name not in hidden}

    def weights(self) -> Arrays:
        """Return copies of the canonical weights."""
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load canonical weights. The EMA restarts from them."""
        load_weights(self.model, arrays)
        self._reset_ema()

    def ema_weights(self) -> Arrays:
        """Return the canonical weights with the EMA in place of every trained one; {} without an EMA."""
        averages = {name: average.numpy(force=True).copy() for name, average in self.ema.items()}
        return self.weights() | averages if averages else {}

    def state(self) -> Arrays:
        """Return copies of the optimizer's slots, the EMA and the number of steps."""
        arrays = {}
        for name, parameter in self.parameters.items():
            slots = self.optimizer.state.get(parameter, {})  # empty before the first step
            for slot in self.settings.slots:
                initial = torch.full_like(parameter, self.settings.initial_value(slot))
                arrays[f"{slot}/{name}"] = slots.get(SLOTS[slot], initial).numpy(force=True).copy()
        arrays |= {f"ema/{name}": average.numpy(force=True).copy() for name, average in self.ema.items()}
        arrays |= {"steps": np.array(self.steps)} if self.settings.counts_steps else {}
        return arrays | (self.loss_scale.state() if self.loss_scale is not None else {})

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a state. Raises ReproError, and changes nothing, for the state of other settings."""
        arrays = self.settings.complete_state(arrays, self.model.spec)
        tensors = {name: torch.as_tensor(np.array(array)) for name, array in arrays.items()}
        if self.loss_scale is not None:
            self.loss_scale.load_state(arrays)
        self.steps = int(arrays.get("steps", 0))
        for name, parameter in self.parameters.items():
            slots = {
                SLOTS[slot]: torch.empty_like(parameter).copy_(tensors[f"{slot}/{name}"])
                for slot in self.settings.slots
            }
            self.optimizer.state[parameter] = {"step": torch.tensor(float(self.steps), device="cpu"), **slots}
        self.ema |= {name: tensors[key] for name in self.ema if (key := f"ema/{name}") in tensors}


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    """Return a trainer of the model, which it changes in place."""
    return Trainer(model, settings)
