"""Faults of optimizers, of the EMA and of training steps."""

from __future__ import annotations

from parity_tests.faults.fault import Fault
from parity_tests.faults.operators import MOBILE, SHUFFLE1, SHUFFLE2

S = SHUFFLE1  # the smallest network, for faults that do not depend on it
SGD, NESTEROV, CLIPPED = "sgd, constant", "sgd with nesterov, step", "clipped sgd with ema, linear"
ADAM, ADAMW, RMSPROP = "adam, cosine", "adamw, warm-up", "rmsprop, constant"

SGDS = (
    Fault("weight decay doubled", S, "", 5, "change_settings(weight_decay=lambda s: 2 * s.weight_decay)",
          f"step 1: * ({SGD})"),
    Fault("weight decay spares gamma and beta", S, "", 5,
          "def spare(t):\n"
          "    o, g = t.optimizer, t.optimizer.param_groups[0]\n"
          "    norms = [p for n, p in t.parameters.items() if '.norm.' in n]\n"
          "    g['params'] = [p for p in g['params'] if not any(p is n for n in norms)]\n"
          "    o.add_param_group({'params': norms, 'weight_decay': 0.0})\n"
          "change_trainer(spare)", f"step 1: *.norm.weight ({SGD})"),
    Fault("weight decay spares biases", MOBILE, "", 5,
          "def spare(t):\n"
          "    o, g = t.optimizer, t.optimizer.param_groups[0]\n"
          "    small = [p for n, p in t.parameters.items() if n.endswith('bias') and '.norm.' not in n]\n"
          "    g['params'] = [p for p in g['params'] if not any(p is n for n in small)]\n"
          "    o.add_param_group({'params': small, 'weight_decay': 0.0})\n"
          "change_trainer(spare)", f"step 1: *.se.reduce.bias ({SGD})"),
    Fault("weight decay after the momentum", S, "", 5,
          "def sgd(w, g, s, lr, c, t):\n"
          "    v = s['momentum_buffer'] = c.momentum * s.get('momentum_buffer', 0) + g\n"
          "    d = g + c.momentum * v if c.nesterov else v\n"
          "    w -= lr * (d + c.weight_decay * w)\n"
          "replace_update('sgd', sgd)", f"step 2: * ({SGD})"),
    Fault("sign of weight decay flipped", S, "", 5,
          "change_trainer(lambda t: t.optimizer.param_groups[0].__setitem__("
          "'weight_decay', -t.settings.weight_decay))", f"step 1: * ({SGD})"),
    Fault("L1 instead of L2 weight decay", S, "", 5,
          "def l1(w, g, s, lr, c, t):\n"
          "    g = g + c.weight_decay * w.sign()\n"
          "    v = s['momentum_buffer'] = c.momentum * s.get('momentum_buffer', 0) + g\n"
          "    w -= lr * (g + c.momentum * v if c.nesterov else v)\n"
          "replace_update('sgd', l1)", f"step 1: * ({SGD})"),
    Fault("momentum", S, "", 5, "change_settings(momentum=lambda s: 0.95 * s.momentum)", f"step 2: * ({SGD})"),
    Fault("momentum dampened", S, "", 5,
          "change_trainer(lambda t: [g.update(dampening=0.1) for g in t.optimizer.param_groups if 'dampening' in g and "
          "not t.settings.nesterov])", f"step 2: * ({SGD})"),
    Fault("Nesterov momentum ignored", S, "", 5, "change_settings(nesterov=lambda s: False)",
          f"step 1: * ({NESTEROV})"),
    Fault("Nesterov momentum where it is not set", S, "", 5,
          "change_settings(nesterov=lambda s: s.optimizer == 'sgd' and s.momentum > 0)",
          f"step 1: * ({SGD})"),
    Fault("learning rate inside the velocity", S, "", 5,
          "def sgd(w, g, s, lr, c, t):\n"
          "    g = g + c.weight_decay * w\n"
          "    v = s['v'] = c.momentum * s.get('v', 0) + lr * g\n"
          "    s['momentum_buffer'] = c.momentum * s.get('momentum_buffer', 0) + g\n"
          "    w -= lr * g + c.momentum * v if c.nesterov else v\n"
          "replace_update('sgd', sgd)", f"step *: * ({NESTEROV})"),
    Fault("learning rate of the previous step", S, "", 5,
          "def late(t):\n"
          "    plain, last = t._update, [0.01]\n"
          "    def update(lr):\n"
          "        plain(last[0]); last[0] = lr\n"
          "    t._update = update\n"
          "change_trainer(late)", f"step *: * ({NESTEROV})"),
    Fault("half the learning rate for biases", MOBILE, "", 5,
          "def slow(w, g, s, lr, c, t):\n"
          "    g = g + c.weight_decay * w\n"
          "    v = s['momentum_buffer'] = c.momentum * s.get('momentum_buffer', 0) + g\n"
          "    w -= lr * (0.5 if w.ndim == 1 else 1) * (g + c.momentum * v if c.nesterov else v)\n"
          "replace_update('sgd', slow)", f"step 1: *.norm.weight ({SGD})"),
    # rung 4 reads gradients from velocities, which a parameter without an optimizer does not have
    Fault("a parameter left out by the optimizer", SHUFFLE2, "last.norm.weight", 4,
          "change_trainer(lambda t: t.optimizer.param_groups[0].update(params=[p for p in t.optimizer.param_groups[0]"
          "['params'] if p is not target]))", "gradient of last.norm.weight"),
    Fault("two parameters share a velocity", S, "stages.1.0.reduce.norm.bias", 5,
          "def shared(w, g, s, lr, c, t):\n"
          "    s = own[id(w)] if t > 1 and c.momentum and id(w) in own else s\n"
          "    g = g + c.weight_decay * w\n"
          "    v = s['momentum_buffer'] = c.momentum * s.get('momentum_buffer', 0) + g\n"
          "    w -= lr * (g + c.momentum * v if c.nesterov else v)\n"
          "own = {}\n"
          "change_trainer(lambda t: own.update({id(target): t.optimizer.state[owner.weight]}))\n"
          "replace_update('sgd', shared)", f"step 2: stages.1.0.reduce.norm.bias ({SGD})"),
    Fault("a weight that is not reset before training", S, "stages.0.0.reduce.conv.weight", 5,
          "keep_value()",
          "step *: stages.0.0.reduce.conv.weight"),
    Fault("weights rounded to half precision after a step", S, "", 5,
          "def rounded(t):\n"
          "    plain = t._update\n"
          "    def update(lr):\n"
          "        plain(lr)\n"
          "        for p in t.parameters.values():\n"
          "            p.data = p.data.half().to(p.dtype)\n"
          "    t._update = update\n"
          "change_trainer(rounded)", f"step 1: * ({SGD})"),
    Fault("gradients clipped one by one", S, "", 5,
          "def clip(t):\n"
          "    plain, norm, t.settings = t._update, t.settings.clip_norm, replace(t.settings, clip_norm=None)\n"
          "    def update(lr):\n"
          "        for p in t.parameters.values() if norm else ():\n"
          "            nn.utils.clip_grad_norm_([p], norm)\n"
          "        plain(lr)\n"
          "    t._update = update\n"
          "change_trainer(clip)", f"step 1: * ({CLIPPED})"),
    Fault("gradients clipped by value", S, "", 5,
          "def clip(t):\n"
          "    plain, norm, t.settings = t._update, t.settings.clip_norm, replace(t.settings, clip_norm=None)\n"
          "    def update(lr):\n"
          "        if norm:\n"
          "            nn.utils.clip_grad_value_(t.parameters.values(), norm)\n"
          "        plain(lr)\n"
          "    t._update = update\n"
          "change_trainer(clip)", f"step 1: * ({CLIPPED})"),
    Fault("gradient norm without biases", S, "", 5,
          "def clip(t):\n"
          "    plain, norm, t.settings = t._update, t.settings.clip_norm, replace(t.settings, clip_norm=None)\n"
          "    def update(lr):\n"
          "        if norm:\n"
          "            big = torch.stack([p.grad.norm() for p in t.parameters.values() if p.ndim > 1]).norm()\n"
          "            for p in t.parameters.values():\n"
          "                p.grad *= min(1, norm / (big + 1e-6))\n"
          "        plain(lr)\n"
          "    t._update = update\n"
          "change_trainer(clip)", f"step 1: * ({CLIPPED})"),
    Fault("gradients clipped at twice the norm", S, "", 5,
          "change_settings(clip_norm=lambda s: s.clip_norm and 2 * s.clip_norm)", f"step 1: * ({CLIPPED})"),
    Fault("EMA of the previous step's weights", S, "", 5,
          "def stale(t):\n"
          "    plain = t._update\n"
          "    def update(lr):\n"
          "        before = {n: p.detach().clone() for n, p in t.parameters.items()}\n"
          "        averages, t.ema = t.ema, {}\n"
          "        plain(lr)\n"
          "        t.ema = averages\n"
          "        for n, a in averages.items():\n"
          "            a.lerp_(before[n], t.settings.ema_weight(0))\n"
          "    t._update = update\n"
          "change_trainer(stale)", f"step 1: EMA of * ({CLIPPED})"),
    Fault("EMA decay", S, "", 5, "change_settings(ema_decay=lambda s: s.ema_decay and 0.99)",
          f"step 1: EMA of * ({CLIPPED})"),
    Fault("EMA weights of old and new value swapped", S, "", 5,
          "change_settings(ema_decay=lambda s: s.ema_decay and 1 - s.ema_decay)",
          f"step 1: EMA of * ({CLIPPED})"),
    Fault("one EMA not updated", S, "", 5,
          "def still(t):\n"
          "    plain = t._update\n"
          "    def update(lr):\n"
          "        held = t.ema.get('stages.1.1.reduce.conv.weight', torch.zeros(1)).clone()\n"
          "        plain(lr)\n"
          "        if t.ema:\n"
          "            t.ema['stages.1.1.reduce.conv.weight'] = held\n"
          "    t._update = update\n"
          "change_trainer(still)", f"step 1: EMA of stages.1.1.reduce.conv.weight ({CLIPPED})"),
    Fault("EMA with warm-up", S, "", 5,
          "change_settings(ema_warmup=lambda s: s.ema_decay is not None)", f"step 1: EMA of * ({CLIPPED})"),
)  # fmt: skip

ADAMS_STEP = """
def adam(w, g, s, lr, c, t):
    g = g + c.weight_decay * w
    m = s["m"] = c.betas[0] * s.get("m", 0) + (1 - c.betas[0]) * g
    v = s["v"] = c.betas[1] * s.get("v", 0) + (1 - c.betas[1]) * g * g
    m, v = m / (1 - c.betas[0] ** t), v / (1 - c.betas[1] ** t)
    w -= lr * m / (v.sqrt() + c.eps)
replace_update("adam", adam)
"""
RMS_STEP = """
def rms(w, g, s, lr, c, t):
    g = g + c.weight_decay * w
    q = s["q"] = c.alpha * s.get("q", torch.zeros_like(w)) + (1 - c.alpha) * g * g
    v = s["v"] = c.momentum * s.get("v", 0) + g / (q.sqrt() + c.eps)
    w -= lr * v
replace_update("rmsprop", rms)
"""

ADAPTIVE = (
    Fault("Adam's bias correction missing", S, "", 5,
          ADAMS_STEP.replace("m / (1 - c.betas[0] ** t), v / (1 - c.betas[1] ** t)", "m, v"), f"step 1: * ({ADAM})"),
    Fault("Adam's bias correction only of the first moment", S, "", 5,
          ADAMS_STEP.replace("v / (1 - c.betas[1] ** t)", "v"), f"step 1: * ({ADAM})"),
    Fault("Adam's epsilon inside the square root", S, "", 5,
          ADAMS_STEP.replace("(v.sqrt() + c.eps)", "(v + c.eps).sqrt()"), f"step 1: * ({ADAM})"),
    Fault("Adam's epsilon before the correction", S, "", 5,
          ADAMS_STEP.replace("(v.sqrt() + c.eps)", "(v.sqrt() + c.eps / (1 - c.betas[1] ** t) ** 0.5)"),
          f"step 1: * ({ADAM})"),
    Fault("Adam's betas swapped", S, "", 5, "change_settings(betas=lambda s: s.betas[::-1])", f"step 2: * ({ADAM})"),
    Fault("Adam's steps counted from 2", S, "", 5, ADAMS_STEP.replace("** t)", "** (t + 1))"),
          f"step 1: * ({ADAM})"),
    Fault("Adam's decay decoupled", S, "", 5,
          ADAMS_STEP.replace("g = g + c.weight_decay * w", "w -= lr * c.weight_decay * w"), f"step 1: * ({ADAM})"),
    Fault("Adam's gradients not squared", S, "", 5, ADAMS_STEP.replace("g * g", "g.abs()"), f"step 1: * ({ADAM})"),
    Fault("AdamW's decay coupled", S, "", 5, ADAMS_STEP.replace('"adam"', '"adamw"'), f"step 1: * ({ADAMW})"),
    Fault("AdamW's decay without the rate", S, "", 5,
          ADAMS_STEP.replace('"adam"', '"adamw"').replace("g = g + c.weight_decay * w", "w -= c.weight_decay * w"),
          f"step 1: * ({ADAMW})"),
    Fault("AdamW's decay after the step", S, "", 5,
          ADAMS_STEP.replace('"adam"', '"adamw"').replace("    g = g + c.weight_decay * w\n", "").replace(
              "c.eps)\n", "c.eps)\n    w -= lr * c.weight_decay * w\n"), f"step 1: * ({ADAMW})"),
    Fault("AMSGrad instead of AdamW", S, "", 5,
          "change_trainer(lambda t: [g.update(amsgrad=True) for g in t.optimizer.param_groups if 'amsgrad' in g and "
          "t.settings.optimizer == 'adamw'])", f"step *: * ({ADAMW})"),
    Fault("RMSProp's epsilon inside the square root", S, "", 5,
          RMS_STEP.replace("(q.sqrt() + c.eps)", "(q + c.eps).sqrt()"), f"step 1: * ({RMSPROP})"),
    Fault("RMSProp starts at ones", S, "", 5, RMS_STEP.replace("zeros", "ones"), f"step 1: * ({RMSPROP})"),
    Fault("RMSProp's alpha", S, "", 5, "change_settings(alpha=lambda s: 0.9)", f"step 1: * ({RMSPROP})"),
    Fault("RMSProp centred", S, "", 5,
          "change_trainer(lambda t: [g.update(centered=True) for g in t.optimizer.param_groups if 'centered' in g])",
          f"step 1: * ({RMSPROP})"),
    Fault("RMSProp's momentum forgotten", S, "", 5,
          "change_settings(momentum=lambda s: 0.0 if s.optimizer == 'rmsprop' else s.momentum)",
          f"step 2: * ({RMSPROP})"),
)  # fmt: skip

TRAJECTORIES = (
    Fault("gradients accumulated over the steps", S, "", 6,
          "change_trainer(lambda t: setattr(t.optimizer, 'zero_grad', lambda: None))", "step *: *"),
    Fault("statistics updated twice in a step", S, "", 6,
          "def twice(step, images, targets, lr):\n"
          "    with torch.no_grad():\n"
          "        model.train()(torch.from_numpy(images))\n"
          "    return step(images, targets, lr)\n"
          "replace_step(twice)", "step 1: stem.norm.running_mean"),
    Fault("loss after the update", S, "", 6,
          "def late(step, images, targets, lr):\n"
          "    step(images, targets, lr)\n"
          "    with torch.no_grad():\n"
          "        y = model(torch.from_numpy(images))\n"
          "        return F.cross_entropy(y, torch.from_numpy(targets)).item(), y.numpy()\n"
          "replace_step(late)", "step 1: *"),
    Fault("evaluation mode from the second step", S, "", 6,
          "def evaluated(step, images, targets, lr):\n"
          "    found = step(images, targets, lr); model.train = lambda mode=True: nn.Module.train(model, False)\n"
          "    return found\n"
          "replace_step(evaluated)\n"
          "change_trainer(lambda t: vars(model).pop('train', None))", "step 2: *"),
    Fault("a statistic that is not reset before training", MOBILE, "stages.1.1.project.norm.running_var", 6,
          "keep_value()", "step *: stages.1.1.project.norm.running_var"),
    Fault("the first batch at every step", S, "", 6,
          "first = []\n"
          "replace_step(lambda step, images, targets, lr: step(*(first.append((images, targets)) or first[0]), lr))\n"
          "change_trainer(lambda t: first.clear())", "step 2: loss"),
    Fault("velocity reset at the third step", S, "", 6,
          "def forget(t):\n"
          "    plain, t.n = t.step, 0\n"
          "    def step(images, targets, lr):\n"
          "        t.n += 1\n"
          "        if t.n == 3:\n"
          "            t.optimizer.state.clear()\n"
          "        return plain(images, targets, lr)\n"
          "    t.step = step\n"
          "change_trainer(forget)", "step 3: *"),
    Fault("every other update skipped", S, "", 6,
          "def skip(t):\n"
          "    plain, t.n = t.step, 0\n"
          "    def step(images, targets, lr):\n"
          "        t.n += 1\n"
          "        return plain(images, targets, lr if t.n % 2 else 0.0)\n"
          "    t.step = step\n"
          "change_trainer(skip)", "step 2: *"),
)  # fmt: skip

OPTIMIZERS = SGDS + ADAPTIVE + TRAJECTORIES
