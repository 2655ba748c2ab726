"""The training step: forward pass, loss, gradients, all-reduce, clipping, optimizer, EMA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import numpy as np
import paddle
from paddle.nn import functional as F

from backends.paddle.inference import Evaluation
from backends.paddle.model import export_weights, load_weights
from backends.paddle.native_weights import NAMES
from backends.paddle.optimizers import create_optimizer, slot_key
from backends.paddle.processes import all_reduce_sum_in_place, ordered_sum
from backends.paddle.sync_norm import synchronise_norms
from repro.arrays import Arrays
from repro.errors import ReproError
from repro.interface import TrainSettings
from repro.interface.contract import StepResult
from repro.interface.parts import split_batch, tree_sum


def cross_entropy(logits: paddle.Tensor, targets: paddle.Tensor, label_smoothing: float) -> paddle.Tensor:
    """Return the mean cross-entropy of logits (N, K) with labels (N,) or soft targets (N, K).

    F.cross_entropy keeps every probability above exp(-64) on the CPU, so that a loss never exceeds 64 (Paddle issue
    20994), and its gradient is wrong for targets that do not sum to 1.
    """
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1]).astype(logits.dtype)
    logits = logits - logits.detach().max(1, keepdim=True)  # large logits would cost the gradients digits
    # the loss of a class is log_sum_exp minus its logit; subtracted once, as a sum over classes would add up rounding
    log_sum_exp = logits.exp().sum(1).log()
    target_loss = targets.sum(1) * log_sum_exp - (targets * logits).sum(1)
    uniform_loss = log_sum_exp - logits.mean(1)
    return ((1 - label_smoothing) * target_loss + label_smoothing * uniform_loss).mean()


def beta_power(beta: float, steps: int) -> np.float32:
    """Return beta ** steps, by the repeated multiplication in float32 that Paddle's Adam does."""
    power = np.float32(1)
    for _ in range(steps):
        previous, power = power, power * np.float32(beta)
        if power == previous:  # too small to change any more
            break
    return power


class Trainer:
    """A Paddle model with its optimizer; the methods are those of repro.interface.Trainer."""

    def __init__(self, model: Any, settings: TrainSettings):
        if settings.precision != "float32":  # paddle.amp.auto_cast on the CPU warns and changes nothing
            raise ReproError(
                f"precision is {settings.precision}: Paddle has only float32 and float64 convolutions on the CPU; "
                "leave precision out, or train with torch or mindspore"
            )
        if settings.compiled:  # on a CPU, its static graphs take as long as eager mode
            raise ReproError("compiled is true: this backend of Paddle trains in eager mode only; leave compiled out")
        self.model = model
        self.settings = settings
        weights = model.spec.weights
        canonical = {NAMES.name(name, weights[name]): name for name in settings.trained_shapes(model.spec)}
        for name, parameter in model.named_parameters():
            parameter.stop_gradient = name not in canonical
        self.parameters = {
            canonical[name]: parameter for name, parameter in model.named_parameters() if name in canonical
        }
        frozen = settings.frozen_norms(model.spec)
        self.frozen_norms = [layer for name, layer in model.named_sublayers() if name in frozen]
        if settings.synchronises_norms:
            synchronise_norms(model, settings.world_size)
        tensors = model.state_dict()
        self.statistics = [tensors[name] for name in NAMES.native_statistics(weights, frozen)]
        self.network = model
        if settings.world_size > 1 and settings.deterministic_shards is None:
            self.network = paddle.DataParallel(model)  # averages gradients while others are still computed
        self.evaluation = Evaluation(model, fused=settings.fused_evaluation)
        self._reset_optimizer()
        self._reset_ema()

    def _reset_optimizer(self) -> None:
        self.optimizer_name = paddle.utils.unique_name.generate("trainer")
        self.optimizer = create_optimizer(list(self.parameters.values()), self.settings, self.optimizer_name)
        self.steps = 0

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
        if self.network is not self.model:
            loss, logits = self._backward_on_all_ranks(images, targets)
        elif self.settings.in_parts:
            loss, logits = self._backward_in_order(images, targets)
        else:
            loss, logits = self._backward(images, targets)
        self._update(lr)
        return lambda: (float(loss), logits.numpy())

    def _backward(self, images: np.ndarray, targets: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Add the gradients to what the parameters hold. Returns the mean cross-entropy and the logits."""
        logits = self.network(paddle.to_tensor(images))
        loss = cross_entropy(logits, paddle.to_tensor(targets), self.settings.label_smoothing)
        loss.backward()
        return loss.detach(), logits.detach()

    @property
    def _with_gradient(self) -> list[Any]:
        """Return the parameters that have influenced the loss."""
        return [parameter for parameter in self.parameters.values() if parameter.grad is not None]

    def _parts(self, images: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the parts of a batch, each from the running statistics before the step."""
        before = [statistic.clone() for statistic in self.statistics]
        for part in split_batch(images, targets, self.settings.parts):
            for statistic, value in zip(self.statistics, before, strict=True):
                statistic.set_value(value)
            yield part

    def _backward_on_all_ranks(self, images: np.ndarray, targets: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Average gradients and running statistics over the parts of all ranks, which Paddle's engine adds up.

        Returns the mean cross-entropy of all ranks and the logits of this one.
        """
        parts = self.settings.parts
        logits, results = [], []
        for number, part in enumerate(self._parts(images, targets), 1):
            with self.network.no_sync() if number < parts else nullcontext():
                loss, part_logits = self._backward(*part)
            logits.append(part_logits)
            results.append(flat([loss, *self.statistics]))
        if parts > 1:
            for parameter in self._with_gradient:
                parameter.grad = parameter.grad / parts
        mean = all_reduce_sum_in_place(tree_sum(results)) / (self.settings.world_size * parts)
        loss, *means = split_flat(mean, self.statistics)
        self._set_statistics(means)
        return loss, paddle.concat(logits)

    def _backward_in_order(self, images: np.ndarray, targets: np.ndarray) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Average gradients and running statistics over the parts of all ranks, which are added in a fixed order.

        Returns the mean cross-entropy of all ranks and the logits of this one.
        """
        logits = []
        parameters: list[paddle.Tensor] = []

        def results() -> Iterator[paddle.Tensor]:
            """Yield the loss, gradients and running statistics of each part as one vector, for a single message."""
            for part in self._parts(images, targets):
                self.optimizer.clear_grad(set_to_zero=False)
                loss, part_logits = self._backward(*part)
                logits.append(part_logits)
                parameters[:] = self._with_gradient
                yield flat([loss, *(parameter.grad for parameter in parameters), *self.statistics])

        total = ordered_sum(tree_sum(results()), self.settings.world_size)
        mean = total / (self.settings.world_size * self.settings.parts)
        loss, *means = split_flat(mean, [*parameters, *self.statistics])
        for parameter, values in zip(parameters, means, strict=False):
            parameter.grad = values
        self._set_statistics(means[len(parameters) :])
        return loss, paddle.concat(logits)

    def _set_statistics(self, means: list[paddle.Tensor]) -> None:
        for statistic, values in zip(self.statistics, means, strict=True):
            statistic.set_value(values)

    def loss(self, logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the mean cross-entropy, and its gradient with respect to the logits."""
        tensor = paddle.to_tensor(logits, stop_gradient=False)
        loss = cross_entropy(tensor, paddle.to_tensor(targets), self.settings.label_smoothing)
        return float(loss), paddle.grad(loss, tensor)[0].numpy()

    def update(self, gradients: Mapping[str, np.ndarray], lr: float) -> None:
        """Clip the given gradients, by canonical name, and update weights and EMA."""
        for name, parameter in self.parameters.items():
            parameter.grad = self._to_native(gradients[name], name).astype(parameter.dtype)
        self._update(lr)

    def _update(self, lr: float) -> None:
        """Clip the gradients that the parameters hold, and update weights and EMA."""
        self.evaluation.forget_weights()
        self.optimizer.set_lr(lr)
        if self.settings.clip_norm is not None:
            # the grad_clip of Paddle's optimizers lacks the 1e-6 of TrainSettings
            paddle.nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.clear_grad(set_to_zero=False)
        for name, average in self.ema.items():
            average.lerp_(self.parameters[name].detach(), self.settings.ema_weight(self.steps))
        self.steps += 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return logits in evaluation mode."""
        return self.evaluation(images)

    def predict_modules(self, images: np.ndarray) -> Arrays:
        """Return what every layer computes in evaluation mode, by a graph that returns all of it if graphs are used."""
        return self.evaluation.modules(images)

    def weights(self) -> Arrays:
        """Return copies of the canonical weights."""
        return export_weights(self.model)

    def load_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Load canonical weights. The EMA restarts from them."""
        load_weights(self.model, arrays)
        self.evaluation.forget_weights()
        self._reset_ema()

    def _to_canonical(self, tensor: paddle.Tensor, name: str) -> np.ndarray:
        """Return a copy of a weight's tensor with canonical axes."""
        return np.array(NAMES.to_canonical_axes(tensor.numpy(), self.model.spec.weights[name]), order="C")

    def _to_native(self, array: np.ndarray, name: str) -> paddle.Tensor:
        """Return a float32 tensor of a weight's canonical array, with Paddle's axes."""
        native = NAMES.to_native_axes(array, self.model.spec.weights[name])
        return paddle.to_tensor(np.array(native, np.float32, order="C"))

    def ema_weights(self) -> Arrays:
        """Return the canonical weights with the EMA in place of every trained one; {} without an EMA."""
        averages = {name: self._to_canonical(average, name) for name, average in self.ema.items()}
        return self.weights() | averages if averages else {}

    def state(self) -> Arrays:
        """Return copies of the optimizer's slots, the EMA and the number of steps."""
        arrays: Arrays = {}
        slots = self.optimizer.state_dict()  # empty before the first step, unless loaded
        for name, parameter in self.parameters.items():
            for slot in self.settings.slots:
                initial = paddle.full_like(parameter, self.settings.initial_value(slot))
                value = slots.get(slot_key(parameter, self.optimizer_name, slot), initial)
                arrays[f"{slot}/{name}"] = self._to_canonical(value, name)
        arrays |= {f"ema/{name}": self._to_canonical(average, name) for name, average in self.ema.items()}
        return arrays | ({"steps": np.array(self.steps)} if self.settings.counts_steps else {})

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from a state. Raises ReproError, and changes nothing, for the state of other settings."""
        arrays = self.settings.complete_state(arrays, self.model.spec)
        self._reset_optimizer()
        self.steps = int(arrays.get("steps", 0))
        powers = [beta_power(beta, self.steps + 1) for beta in self.settings.betas]
        slots = {}
        for name, parameter in self.parameters.items():
            for slot in self.settings.slots:
                slots[slot_key(parameter, self.optimizer_name, slot)] = self._to_native(arrays[f"{slot}/{name}"], name)
            for number, power in enumerate(powers if self.settings.counts_steps else (), 1):
                key = slot_key(parameter, self.optimizer_name, f"beta{number}_pow_acc")
                slots[key] = paddle.to_tensor([power])
        self.optimizer.set_state_dict(slots)
        for name in self.ema:
            if f"ema/{name}" in arrays:
                self.ema[name] = self._to_native(arrays[f"ema/{name}"], name)


def flat(tensors: Iterable[paddle.Tensor]) -> paddle.Tensor:
    """Return the elements of all tensors as one vector, for a single message."""
    return paddle.concat([tensor.reshape([-1]) for tensor in tensors])


def split_flat(vector: paddle.Tensor, tensors: list[paddle.Tensor]) -> list[paddle.Tensor]:
    """Return the first element of a vector, and its other pieces in the shapes of the tensors."""
    first, *pieces = vector.split([1, *(tensor.size for tensor in tensors)])
    return [first, *(piece.reshape(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True))]


def create_trainer(model: Any, settings: TrainSettings) -> Trainer:
    """Return a trainer of the model, which it changes in place."""
    return Trainer(model, settings)
