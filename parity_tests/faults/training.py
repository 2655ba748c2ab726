"""Faults of losses and gradients. See parity_tests.faults."""

from __future__ import annotations

from parity_tests.faults.fault import Fault
from parity_tests.faults.operators import ASYMM, EFFICIENT, MOBILE, MOBILE2, SHUFFLE1, SHUFFLE2

S = SHUFFLE1  # for what has nothing to do with the network: the smallest

LOSSES = (
    Fault("smoothing halved", S, "", 3, "settings(label_smoothing=lambda s: s.label_smoothing / 2)",
          "loss (smoothed labels)"),
    Fault("smoothing spread over the other classes", S, "", 3,
          "loss(lambda y, t, s: F.cross_entropy(y, t, label_smoothing=s.label_smoothing * 1000 / 999))",
          "loss (smoothed labels)"),
    Fault("smoothing of labels alone", S, "", 3,
          "loss(lambda y, t, s: F.cross_entropy(y, t, label_smoothing=s.label_smoothing * (t.ndim == 1)))",
          "loss (smoothed soft targets)"),
    Fault("sum for mean", S, "", 3, "loss(lambda y, t, s: F.cross_entropy(y, t, reduction='sum', "
          "label_smoothing=s.label_smoothing))", "loss (labels)"),
    Fault("soft targets normalised", S, "", 3,
          "loss(lambda y, t, s: F.cross_entropy(y, t / t.sum(1, True) if t.ndim == 2 else t, "
          "label_smoothing=s.label_smoothing))", "loss (soft targets)"),
    Fault("the likeliest class for soft targets", S, "", 3,
          "loss(lambda y, t, s: F.cross_entropy(y, t.argmax(1) if t.ndim == 2 else t, "
          "label_smoothing=s.label_smoothing))", "loss (soft targets)"),
    Fault("labels counted from one", S, "", 3,
          "loss(lambda y, t, s: F.cross_entropy(y, t if t.ndim == 2 else (t - 1) % 1000, "
          "label_smoothing=s.label_smoothing))", "loss (labels)"),
    Fault("mean over the classes, too", S, "", 3, "loss(lambda y, t, s: F.cross_entropy(y, t, "
          "label_smoothing=s.label_smoothing) / y.shape[1])", "loss (labels)"),
    Fault("binary logarithm", S, "", 3, "loss(lambda y, t, s: F.cross_entropy(y, t, "
          "label_smoothing=s.label_smoothing) * 1.4427)", "loss (labels)"),
    Fault("logarithm of a probability and an epsilon", S, "", 3,
          "def log(y, t, s):\n"
          "    t = F.one_hot(t, y.shape[1]) if t.ndim == 1 else t\n"
          "    t = (1 - s.label_smoothing) * t + s.label_smoothing / y.shape[1]\n"
          "    return -(t * (y.softmax(1) + 1e-6).log()).sum(1).mean()\n"
          "loss(log)", "loss (labels)"),
    Fault("the loss's gradient twice", S, "", 3,
          "def twice(y, t, s):\n"
          "    loss = F.cross_entropy(y, t, label_smoothing=s.label_smoothing)\n"
          "    return 2 * loss - loss.detach()\n"
          "loss(twice)", "gradient (labels)"),
    Fault("no loss above 64", S, "", 3, "loss(lambda y, t, s: F.cross_entropy((y - y.amax(1, True)).clamp(min=-64), t, "
          "label_smoothing=s.label_smoothing))", "loss (distant logits)"),
    Fault("the loss in half precision", S, "", 3, "loss(lambda y, t, s: F.cross_entropy(y.half(), t if t.ndim == 1 "
          "else t.half(), label_smoothing=s.label_smoothing).to(y.dtype))", "loss (labels)"),
)  # fmt: skip

GRADIENTS = (
    # gradients come from behind: what is in front of the fault is wrong
    Fault("input detached", ASYMM, "stages.1.1", 4, "entering(lambda x: x.detach())",
          "gradient of stages.1.0.project.norm.bias"),
    Fault("shortcut detached", MOBILE, "stages.1.1", 4,
          "compute(lambda x: x.detach() + at.project(at.depthwise(at.expand(x))))",
          "gradient of stages.1.0.project.norm.*"),
    Fault("gate detached", EFFICIENT, "stages.4.0.se.gate", 4, "output(lambda y: y.detach())",
          "gradient of stages.4.0.se.restore.bias"),
    Fault("gradient twice", SHUFFLE1, "classifier.weight", 4, "gradient(lambda g: 2 * g)",
          "gradient of classifier.weight"),
    Fault("gradient of zero", SHUFFLE2, "stages.1.1.branch.1.conv.weight", 4, "gradient(lambda g: 0 * g)",
          "gradient of stages.1.1.branch.1.conv.weight"),
    Fault("parameter frozen", MOBILE2, "stages.2.1.expand.norm.weight", 4,
          "trainer(lambda t: at.requires_grad_(False))", "gradient of stages.2.1.expand.norm.weight"),
    Fault("one gradient is not a number", ASYMM, "hidden.weight", 4,
          "def nan(g):\n    g = g.clone(); g.view(-1)[0] = float('nan'); return g\ngradient(nan)",
          "gradient of hidden.weight"),
    Fault("one element of a gradient", MOBILE, "last.conv.weight", 4,
          "def one(g):\n    g = g.clone(); g.view(-1)[3] += 0.1 * g.abs().max(); return g\ngradient(one)",
          "gradient of last.conv.weight"),
    Fault("gradient's channels in another order", SHUFFLE1, "stages.1.1.depthwise.conv.weight", 4,
          "gradient(lambda g: g.flip(0))", "gradient of stages.1.1.depthwise.conv.weight"),
    Fault("gradient of the other sign", SHUFFLE2, "last.norm.bias", 4, "gradient(lambda g: -g)",
          "gradient of last.norm.bias"),
    Fault("gradient transposed", ASYMM, "stages.0.0.project.conv.weight", 4, "gradient(lambda g: g.transpose(0, 1))",
          "gradient of stages.0.0.project.conv.weight"),
    Fault("gradient flipped", MOBILE, "stages.2.0.depthwise.conv.weight", 4, "gradient(lambda g: g.flip(2, 3))",
          "gradient of stages.2.0.depthwise.conv.weight"),
    Fault("statistics as constants on the way back", MOBILE2, "stages.1.0.project.norm", 4,
          "def constant(x):\n"
          "    if not at.training:\n"
          "        return type(at).forward(at, x)\n"
          "    type(at).forward(at, x.detach())\n"
          "    m, v = x.mean((0, 2, 3), True).detach(), x.var((0, 2, 3), False, keepdim=True).detach()\n"
          "    return (x - m) / (v + at.eps).sqrt() * at.weight[:, None, None] + at.bias[:, None, None]\n"
          "compute(constant)", "gradient of stages.1.0.project.conv.weight"),
    Fault("an activation that lets every gradient through", SHUFFLE1, "stages.2.2.reduce.act", 4,
          "compute(lambda x: x + (F.relu(x) - x).detach())", "gradient of stages.2.2.reduce.norm.bias"),
    Fault("gradient clipped by value", ASYMM, "classifier.bias", 4, "gradient(lambda g: g.clamp(-1e-3, 1e-3))",
          "gradient of classifier.bias"),
    Fault("gradient in half precision", MOBILE, "last.norm.weight", 4, "gradient(lambda g: g.half().to(g.dtype))",
          "gradient of last.norm.weight"),
    Fault("gradient of one image", ASYMM, "classifier.bias", 4,
          "model.classifier.register_forward_hook(lambda m, x, y: F.linear(x[0], m.weight) + "
          "torch.cat([m.bias.expand(1, -1), m.bias.detach().expand(len(y) - 1, -1)]))", "gradient of classifier.bias"),
    Fault("gradients of the sum over the batch", MOBILE, "", 4,
          "step(lambda step, images, targets, lr: step(images, targets, lr))\n"
          "trainer(lambda t: setattr(t, '_cross_entropy', lambda y, k: (lambda l: 4 * l - 3 * l.detach())("
          "F.cross_entropy(y, torch.from_numpy(k))) if len(y) == 4 else F.cross_entropy(y, torch.from_numpy(k), "
          "label_smoothing=t.settings.label_smoothing)))", "gradient of classifier.bias"),
    Fault("labels in another order than images", SHUFFLE2, "", 4,
          "step(lambda step, images, targets, lr: step(images, targets[::-1].copy(), lr))",
          "gradient of classifier.bias | gradient of classifier.weight"),
    Fault("a branch detached", SHUFFLE1, "stages.1.0.pool", 4, "output(lambda y: y.detach())",
          "gradient of stages.0.3.expand.norm.bias"),
)  # fmt: skip

TRAINING = LOSSES + GRADIENTS
