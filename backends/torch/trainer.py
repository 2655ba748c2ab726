"""The training step: forward pass, loss, gradients, all-reduce, clipping, optimizer, EMA."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch._dynamo.exc import TorchDynamoException  # the optimizers import this package, too
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from backends.torch.inference import Evaluation, fused_convolutions, on_cpu
from backends.torch.introspection import forward
from backends.torch.model import export_weights, load_weights, native_tensors
from backends.torch.native_weights import NAMES
from backends.torch.optimizers import SLOTS, create_optimizer
from backends.torch.processes import Download, all_reduce_sum_in_place, ordered_sum, upload
from backends.torch.sync_norm import synchronise_norms
from repro.arrays import Arrays
from repro.errors import ReproError, first_line
from repro.interface import TrainSettings
from repro.interface.contract import StepResult
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
        if settings.synchronises_norms:
            synchronise_norms(model, settings.world_size)
        tensors = native_tensors(model)
        self.statistics = [tensors[name] for name in NAMES.native_statistics(model.spec.weights, frozen)]
        # convolutions of a CPU and of a GPU's tensor cores are faster where the channels of a pixel lie side by side
        is_faster = on_cpu(model) or settings.precision != "float32"
        self.layout = torch.channels_last if is_faster else torch.contiguous_format
        model.to(memory_format=self.layout)
        self.network = model
        if settings.compiled:
            if hasattr(model, "draw_dropout"):
                model.draw_dropout = torch.compiler.disable(model.draw_dropout)
            self.network = torch.compile(model)
        self.is_averaged = settings.world_size > 1 and settings.deterministic_shards is None
        if self.is_averaged:
            # averages gradients while others are still computed. Running statistics are averaged here, not broadcast; a
            # search for unused weights keeps the order of sums, which would change after the first step of a process
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # broadcast_buffers has a new name
                self.network = DistributedDataParallel(
                    self.network, broadcast_buffers=False, find_unused_parameters=True
                )
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
        """Make one training step, and return the mean cross-entropy and the logits before the update."""
        return self.start_step(images, targets, lr)()

    def start_step(self, images: np.ndarray, targets: np.ndarray, lr: float) -> StepResult:
        """Start a training step. The result waits for the mean cross-entropy and the logits before the update."""
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()
        if self.is_averaged:
            loss, logits = self._backward_on_all_ranks(images, targets)
        elif self.settings.in_parts:
            loss, logits = self._backward_in_order(images, targets)
        else:
            loss, logits = self._backward(images, targets)
        if self.loss_scale is not None:
            self._divide_gradients(self.loss_scale.scale)
        self._update(lr)
        return Download(loss, logits)

    def _backward(self, images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Add the scaled gradients to what the parameters hold. Returns the mean cross-entropy and the logits.

        Raises ReproError where PyTorch cannot compile the network, as without a C++ compiler.
        """
        try:
            logits = self._logits(self.network, images)
        except TorchDynamoException as error:
            raise ReproError(f"torch.compile fails ({first_line(error)}); leave compiled out") from error
        loss = self._cross_entropy(logits, targets)
        (loss if self.loss_scale is None else loss * self.loss_scale.scale).backward()
        return loss.detach(), logits.detach()

    @property
    def _with_gradient(self) -> list[Any]:
        """Return the parameters that have influenced the loss."""
        return [parameter for parameter in self.parameters.values() if parameter.grad is not None]

    def _divide_gradients(self, divisor: float) -> None:
        if divisor != 1:
            for parameter in self._with_gradient:
                parameter.grad /= divisor

    def _parts(self, images: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the parts of a batch, each from the running statistics before the step."""
        before = [statistic.clone() for statistic in self.statistics]
        for part in split_batch(images, targets, self.settings.parts):
            for statistic, value in zip(self.statistics, before, strict=True):
                statistic.copy_(value)
            yield part

    def _backward_on_all_ranks(self, images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Average gradients and running statistics over the parts of all ranks, which PyTorch's engine adds up.

        Returns the mean cross-entropy of all ranks and the logits of this one.
        """
        parts, logits, results = self.settings.parts, [], []
        for number, part in enumerate(self._parts(images, targets), 1):
            with self.network.no_sync() if number < parts else nullcontext():
                loss, part_logits = self._backward(*part)
            logits.append(part_logits)
            results.append(flat([loss, *self.statistics]))
        self._divide_gradients(parts)
        mean = all_reduce_sum_in_place(tree_sum(results)) / (self.settings.world_size * parts)
        return write_flat(mean, self.statistics), torch.cat(logits)

    def _backward_in_order(self, images: np.ndarray, targets: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Average gradients and running statistics over the parts of all ranks, which are added in a fixed order.

        Returns the mean cross-entropy of all ranks and the logits of this one.
        """
        logits = []

        def results() -> Iterator[torch.Tensor]:
            """Yield the loss, gradients and running statistics of each part as one vector, for a single message."""
            for part in self._parts(images, targets):
                self.optimizer.zero_grad()
                loss, part_logits = self._backward(*part)
                logits.append(part_logits)
                yield flat([loss, *(parameter.grad for parameter in self._with_gradient), *self.statistics])

        total = ordered_sum(tree_sum(results()), self.settings.world_size)
        mean = total / (self.settings.world_size * self.settings.parts)
        averaged = [parameter.grad for parameter in self._with_gradient] + self.statistics
        return write_flat(mean, averaged), torch.cat(logits)

    def _logits(self, network: Any, images: np.ndarray) -> torch.Tensor:
        """Run a network in the precision of the settings. Returns float32 logits."""
        tensor = torch.as_tensor(upload(images)).contiguous(memory_format=self.layout)
        if self.settings.precision == "float32":
            return network(tensor)
        with self._autocast():
            return network(tensor).float()

    def _autocast(self) -> torch.autocast:
        precision = getattr(torch, self.settings.precision)
        return torch.autocast(torch.get_default_device().type, precision, enabled=precision != torch.float32)

    def _cross_entropy(self, logits: torch.Tensor, targets: np.ndarray) -> torch.Tensor:
        return F.cross_entropy(logits, torch.as_tensor(upload(targets)), label_smoothing=self.settings.label_smoothing)

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
        if self.loss_scale is not None and not self.loss_scale.update(is_finite=self._gradients_are_finite()):
            # running statistics, which the forward pass has updated, stay updated in a skipped step, as with GradScaler
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


def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """Return the elements of all tensors as one vector, for a single message."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def write_flat(vector: torch.Tensor, tensors: list[torch.Tensor]) -> torch.Tensor:
    """Copy a vector into the tensors, except for its first element, which is returned."""
    first, *pieces = vector.split([1, *(tensor.numel() for tensor in tensors)])
    for tensor, piece in zip(tensors, pieces, strict=True):
        tensor.copy_(piece.view(tensor.shape))
    return first


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    """Return a trainer of the model, which it changes in place."""
    return Trainer(model, settings)
