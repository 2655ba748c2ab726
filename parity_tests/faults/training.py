"""Faults of losses and gradients."""

from __future__ import annotations

from parity_tests.faults.fault import Fault
from parity_tests.faults.operators import ASYMM, EFFICIENT, MOBILE, MOBILE2, SHUFFLE1, SHUFFLE2

S = SHUFFLE1  # the smallest network, for faults that do not depend on it

LOSSES = (
    Fault("smoothing halved", S, "", 3, "change_settings(label_smoothing=lambda s: s.label_smoothing / 2)",
          "loss (smoothed labels)"),
    Fault("smoothing spread over the other classes", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y, t, label_smoothing=s.label_smoothing * 1000 / 999))",
          "loss (smoothed labels)"),
    Fault("smoothing only of labels", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y, t, label_smoothing=s.label_smoothing * (t.ndim == 1)))",
          "loss (smoothed soft targets)"),
    Fault("sum instead of mean", S, "", 3, "replace_loss(lambda y, t, s: F.cross_entropy(y, t, reduction='sum', "
          "label_smoothing=s.label_smoothing))", "loss (labels)"),
    Fault("soft targets normalised", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y, t / t.sum(1, True) if t.ndim == 2 else t, "
          "label_smoothing=s.label_smoothing))", "loss (soft targets)"),
    Fault("most likely class instead of soft targets", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y, t.argmax(1) if t.ndim == 2 else t, "
          "label_smoothing=s.label_smoothing))", "loss (soft targets)"),
    Fault("labels counted from 1", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y, t if t.ndim == 2 else (t - 1) % 1000, "
          "label_smoothing=s.label_smoothing))", "loss (labels)"),
    Fault("mean over the classes as well", S, "", 3, "replace_loss(lambda y, t, s: F.cross_entropy(y, t, "
          "label_smoothing=s.label_smoothing) / y.shape[1])", "loss (labels)"),
    Fault("binary logarithm", S, "", 3, "replace_loss(lambda y, t, s: F.cross_entropy(y, t, "
          "label_smoothing=s.label_smoothing) * 1.4427)", "loss (labels)"),
    Fault("logarithm of a probability and an epsilon", S, "", 3,
          "def log(y, t, s):\n"
          "    t = F.one_hot(t, y.shape[1]) if t.ndim == 1 else t\n"
          "    t = (1 - s.label_smoothing) * t + s.label_smoothing / y.shape[1]\n"
          "    return -(t * (y.softmax(1) + 1e-6).log()).sum(1).mean()\n"
          "replace_loss(log)", "loss (labels)"),
    Fault("gradient of the loss doubled", S, "", 3,
          "def twice(y, t, s):\n"
          "    loss = F.cross_entropy(y, t, label_smoothing=s.label_smoothing)\n"
          "    return 2 * loss - loss.detach()\n"
          "replace_loss(twice)", "gradient (labels)"),
    Fault("loss clipped at 64", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy((y - y.amax(1, True)).clamp(min=-64), t, "
          "label_smoothing=s.label_smoothing))", "loss (distant logits)"),
    Fault("the loss in half precision", S, "", 3,
          "replace_loss(lambda y, t, s: F.cross_entropy(y.half(), t if t.ndim == 1 "
          "else t.half(), label_smoothing=s.label_smoothing).to(y.dtype))", "loss (labels)"),
)  # fmt: skip

GRADIENTS = (
    # backpropagation goes from the last layer to the first, so the gradients in front of the fault are wrong
    Fault("input detached", ASYMM, "stages.1.1", 4, "change_input(lambda x: x.detach())",
          "gradient of stages.1.0.project.norm.bias"),
    Fault("shortcut detached", MOBILE, "stages.1.1", 4,
          "replace_forward(lambda x: x.detach() + target.project(target.depthwise(target.expand(x))))",
          "gradient of stages.1.0.project.norm.*"),
    Fault("gate detached", EFFICIENT, "stages.4.0.se.gate", 4, "change_output(lambda y: y.detach())",
          "gradient of stages.4.0.se.restore.bias"),
    Fault("gradient doubled", SHUFFLE1, "classifier.weight", 4, "change_gradient(lambda g: 2 * g)",
          "gradient of classifier.weight"),
    Fault("gradient of zero", SHUFFLE2, "stages.1.1.branch.1.conv.weight", 4, "change_gradient(lambda g: 0 * g)",
          "gradient of stages.1.1.branch.1.conv.weight"),
    Fault("parameter frozen", MOBILE2, "stages.2.1.expand.norm.weight", 4,
          "change_trainer(lambda t: target.requires_grad_(False))", "gradient of stages.2.1.expand.norm.weight"),
    Fault("NaN in a gradient", ASYMM, "hidden.weight", 4,
          "def change(g):\n    g = g.clone(); g.view(-1)[0] = float('nan'); return g\nchange_gradient(change)",
          "gradient of hidden.weight"),
    Fault("one element of a gradient", MOBILE, "last.conv.weight", 4,
          "def change(g):\n    g = g.clone(); g.view(-1)[3] += 0.1 * g.abs().max(); return g\nchange_gradient(change)",
          "gradient of last.conv.weight"),
    Fault("channels of a gradient permuted", SHUFFLE1, "stages.1.1.depthwise.conv.weight", 4,
          "change_gradient(lambda g: g.flip(0))", "gradient of stages.1.1.depthwise.conv.weight"),
    Fault("sign of a gradient flipped", SHUFFLE2, "last.norm.bias", 4, "change_gradient(lambda g: -g)",
          "gradient of last.norm.bias"),
    Fault("gradient transposed", ASYMM, "stages.0.0.project.conv.weight", 4,
          "change_gradient(lambda g: g.transpose(0, 1))",
          "gradient of stages.0.0.project.conv.weight"),
    Fault("gradient flipped", MOBILE, "stages.2.0.depthwise.conv.weight", 4, "change_gradient(lambda g: g.flip(2, 3))",
          "gradient of stages.2.0.depthwise.conv.weight"),
    Fault("batch statistics treated as constants in the backward pass", MOBILE2, "stages.1.0.project.norm", 4,
          "def constant(x):\n"
          "    if not target.training:\n"
          "        return type(target).forward(target, x)\n"
          "    type(target).forward(target, x.detach())\n"
          "    m, v = x.mean((0, 2, 3), True).detach(), x.var((0, 2, 3), False, keepdim=True).detach()\n"
          "    return (x - m) / (v + target.eps).sqrt() * target.weight[:, None, None] + target.bias[:, None, None]\n"
          "replace_forward(constant)", "gradient of stages.1.0.project.conv.weight"),
    Fault("activation that passes every gradient", SHUFFLE1, "stages.2.2.reduce.act", 4,
          "replace_forward(lambda x: x + (F.relu(x) - x).detach())", "gradient of stages.2.2.reduce.norm.bias"),
    Fault("gradient clipped by value", ASYMM, "classifier.bias", 4, "change_gradient(lambda g: g.clamp(-1e-3, 1e-3))",
          "gradient of classifier.bias"),
    Fault("gradient in half precision", MOBILE, "last.norm.weight", 4,
          "change_gradient(lambda g: g.half().to(g.dtype))",
          "gradient of last.norm.weight"),
    Fault("gradient of only one image", ASYMM, "classifier.bias", 4,
          "model.classifier.register_forward_hook(lambda m, x, y: F.linear(x[0], m.weight) + "
          "torch.cat([m.bias.expand(1, -1), m.bias.detach().expand(len(y) - 1, -1)]))", "gradient of classifier.bias"),
    Fault("gradients of the sum over the batch", MOBILE, "", 4,
          "replace_step(lambda step, images, targets, lr: step(images, targets, lr))\n"
          "change_trainer(lambda t: setattr(t, '_cross_entropy', lambda y, k: (lambda l: 4 * l - 3 * l.detach())("
          "F.cross_entropy(y, torch.from_numpy(k))) if len(y) == 4 else F.cross_entropy(y, torch.from_numpy(k), "
          "label_smoothing=t.settings.label_smoothing)))", "gradient of classifier.bias"),
    Fault("labels in a different order than images", SHUFFLE2, "", 4,
          "replace_step(lambda step, images, targets, lr: step(images, targets[::-1].copy(), lr))",
          "gradient of classifier.bias | gradient of classifier.weight"),
    Fault("a branch detached", SHUFFLE1, "stages.1.0.pool", 4, "change_output(lambda y: y.detach())",
          "gradient of stages.0.3.expand.norm.bias"),
)  # fmt: skip

TRAINING = LOSSES + GRADIENTS
