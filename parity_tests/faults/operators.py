"""Faults of single operators: normalisations, convolutions, linear layers, activations, gates, pools and numbers."""

from __future__ import annotations

from parity_tests.faults.fault import Fault

ASYMM, MOBILE, MOBILE2 = "asymmnet_small_x0_35", "mobilenet_v3_small_x0_35", "mobilenet_v2_x0_35"
SHUFFLE1, SHUFFLE2, SHUFFLE2_TV = "shufflenet_v1_g3_x0_25", "shufflenet_v2_x0_5", "shufflenet_v2_x0_5_torchvision"
DENSE, RD, EFFICIENT, VGG = "densenet121", "rdnet_tiny", "efficientnet_v2_b0_same", "vgg16_bn"
RES, RES2, RES2_KERAS = "resnet50", "resnet50_v2", "resnet50_v2_keras"
GATED, PADDED = "resnet110_cifar_exclusive_gating", "resnet110_cifar"

NORMS = (
    Fault("epsilon of a normalisation", ASYMM, "stages.1.1.expand.norm", 1, "target.eps = 1e-3"),
    Fault("epsilon forgotten", MOBILE, "stages.2.0.expand.norm", 1, "target.eps = 0.0"),
    Fault("epsilon outside the square root", EFFICIENT, "stages.0.0.project.norm", 1,
          "replace_forward(lambda x: F.batch_norm((x - target.running_mean[:, None, None]) / "
          "(target.running_var[:, None, None].sqrt() + target.eps), 0 * target.running_mean, 0 * target.running_var + "
          "1, target.weight, target.bias, eps=0.0))"),
    Fault("gamma and beta swapped", SHUFFLE1, "stages.1.1.reduce.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var, target.bias, "
          "target.weight, eps=target.eps))"),
    Fault("mean and variance swapped", SHUFFLE1, "stages.1.1.expand.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_var, target.running_mean.abs(), target.weight, "
          "target.bias))"),
    Fault("gamma forgotten", SHUFFLE2, "stages.0.1.branch.1.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var, None, target.bias, "
          "eps=target.eps))"),
    Fault("beta forgotten", RES2, "stages.0.0.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var, target.weight, None, "
          "eps=target.eps))"),
    Fault("mean not subtracted", MOBILE2, "stages.1.0.project.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, 0 * target.running_mean, target.running_var, target.weight, "
          "target.bias, eps=target.eps))"),
    Fault("variance used as a standard deviation", SHUFFLE2_TV, "stages.1.0.branch.2.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var ** 2, target.weight, "
          "target.bias, eps=target.eps))"),
    Fault("batch statistics in evaluation", SHUFFLE2, "stages.1.0.branch.0.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, None, None, target.weight, target.bias, True, 0.0, target.eps))"),
    Fault("gamma of the next channel", ASYMM, "stages.1.0.project.norm", 1,
          "replace_forward(lambda x: F.batch_norm(x, target.running_mean, target.running_var, target.weight.roll(1), "
          "target.bias, eps=target.eps))"),
    Fault("layer normalisation over the map as well", RD, "stages.0.blocks.0.norm", 1,
          "replace_forward(lambda x: F.group_norm(x, 1, target.weight, target.bias, target.eps))"),
    Fault("layer normalisation with another epsilon", RD, "stages.1.transition.norm", 1, "target.eps = 1e-5"),
    Fault("layer normalisation with the unbiased variance", RD, "norm", 1,
          "replace_forward(lambda x: (x - x.mean(1, True)) / (x.var(1, keepdim=True) + target.eps).sqrt() * "
          "target.weight + target.bias)"),
    Fault("statistics updated in evaluation", MOBILE, "last.norm", 1,
          "def keep(layer, inputs, y):\n"
          "    if not layer.training:\n"
          "        layer.running_mean.lerp_(inputs[0].mean((0, 2, 3)), 0.01)\n"
          "target.register_forward_hook(keep)", "last.norm.running_mean"),
)  # fmt: skip

CONVOLUTIONS = (
    Fault("SAME padding on the wrong side", EFFICIENT, "stem.conv", 1,
          "def same(x):\n"
          "    r, c = (max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in x.shape[2:])\n"
          "    return nn.Conv2d.forward(target, F.pad(x, (c - c // 2, c // 2, r - r // 2, r // 2)))\n"
          "replace_forward(same)"),
    Fault("the same padding on both sides instead of SAME", EFFICIENT, "stages.3.0.depthwise.conv", 1,
          "replace_forward(lambda x: F.conv2d(x, target.weight, None, target.stride, 1, 1, target.groups))"),
    Fault("reflecting padding", ASYMM, "stages.1.1.depthwise.conv", 1,
          "replace_forward(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), target.weight, "
          "groups=target.groups))"),
    Fault("circular padding", SHUFFLE2, "stages.1.1.branch.1.conv", 1,
          "replace_forward(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), 'circular'), target.weight, "
          "groups=target.groups))"),
    Fault("padding with a value other than 0", DENSE, "stages.0.blocks.0.conv2", 1,
          "replace_forward(lambda x: F.conv2d(F.pad(x, (1, 1, 1, 1), value=0.1), target.weight))"),
    Fault("padding forgotten", SHUFFLE1, "stem.conv", 0, "target.padding = (0, 0)"),
    Fault("padding of another kernel size", MOBILE, "stages.2.0.depthwise.conv", 0, "target.padding = (1, 1)"),
    Fault("stride", ASYMM, "stages.2.0.depthwise.conv", 0, "target.stride = (1, 1)"),
    Fault("stride in another convolution of the block", RES, "stages.1.0.reduce.conv", 0,
          "target.stride = (2, 2); model.stages[1][0].spatial.conv.stride = (1, 1)"),
    Fault("the last stage's stride", MOBILE2, "stages.5.0.depthwise.conv", 0, "target.stride = (1, 1)"),
    Fault("dilation", SHUFFLE2_TV, "stages.0.1.branch.1.conv", 1, "target.dilation = target.padding = (2, 2)"),
    Fault("bias forgotten", MOBILE, "hidden", 0, "target.bias = None", "hidden | hidden.bias"),
    Fault("additional bias", ASYMM, "hidden", 0,
          "replace_module(nn.Conv2d(target.in_channels, target.out_channels, 1))",
          "hidden | hidden.bias"),
    Fault("bias not added", RD, "stages.0.blocks.0.expand", 1, "replace_forward(lambda x: F.conv2d(x, target.weight))"),
    Fault("bias added twice", RD, "stages.0.blocks.1.project", 1,
          "change_output(lambda y: y + target.bias[:, None, None])"),
    Fault("the classifier's bias of another class", SHUFFLE2_TV, "classifier", 1,
          "replace_forward(lambda x: F.linear(x, target.weight, target.bias.roll(1)))"),
    Fault("transposed square weight of a convolution", ASYMM, "stages.0.0.project.conv.weight", 1,
          "change_loaded(lambda w: w.transpose(0, 1))", "stages.0.0.project.conv"),
    Fault("transposed square weight of a gate", RD, "stages.3.blocks.0.se.conv.weight", 1,
          "change_loaded(lambda w: w.transpose(0, 1))", "stages.3.blocks.0.se.conv"),
    Fault("transposed square weight of a linear layer", VGG, "hidden2.weight", 1, "change_loaded(lambda w: w.T)",
          "hidden2"),
    Fault("kernels flipped", SHUFFLE1, "stages.1.2.depthwise.conv.weight", 1, "change_loaded(lambda w: w.flip(2, 3))",
          "stages.1.2.depthwise.conv"),
    Fault("kernels with rows and columns swapped", MOBILE, "stem.conv.weight", 1,
          "change_loaded(lambda w: w.transpose(2, 3))",
          "stem.conv"),
    Fault("kernels shifted by a pixel", SHUFFLE2, "stem.conv.weight", 1, "change_loaded(lambda w: w.roll(1, 3))",
          "stem.conv"),
    Fault("groups interleaved instead of contiguous", SHUFFLE1, "stages.1.1.expand.conv", 1,
          "change_input(lambda x: x.unflatten(1, (-1, target.groups)).transpose(1, 2).flatten(1, 2))",
          "input of stages.1.1.expand.conv"),
    Fault("one group for all channels", SHUFFLE1, "stages.1.3.reduce.conv", 0,
          "replace_module(nn.Conv2d(target.in_channels, target.out_channels, 1, bias=False))",
          "stages.1.3.reduce.conv | stages.1.3.reduce.conv.weight"),
    Fault("two channels of a weight swapped", MOBILE2, "stages.0.0.project.conv.weight", 1,
          "change_loaded(lambda w: w[[1, 0, *range(2, len(w))]])", "stages.0.0.project.conv"),
    Fault("one element of a weight", MOBILE2, "last.conv.weight", 1,
          "def change(w):\n    w[3, 5] *= 1.2\n    return w\nchange_loaded(change)", "last.conv"),
    Fault("a weight that is never loaded", SHUFFLE2, "stages.2.0.shortcut.1.conv.weight", 1,
          "first = target.detach().clone(); change_loaded(lambda w: first)", "stages.2.0.shortcut.1.conv"),
    Fault("weights in half precision", ASYMM, "stages.2.1.project.conv.weight", 1, "change_loaded(lambda w: w.half())",
          "stages.2.1.project.conv"),
    Fault("a layer in half precision", MOBILE, "stages.1.1.expand.conv", 1,
          "change_output(lambda y: y.half().to(y.dtype))"),
    Fault("a layer in bfloat16", MOBILE, "last.conv", 1, "change_output(lambda y: y.bfloat16().to(y.dtype))"),
    Fault("relative error of 1e-8 only in float64", ASYMM, "stem.conv", 1,
          "change_output(lambda y: y * (1 + 1e-8) if y.dtype == torch.float64 else y)"),
)  # fmt: skip

ACTIVATIONS = (
    Fault("activation forgotten", MOBILE, "stages.1.0.expand.act", 1, "replace_module(nn.Identity())"),
    Fault("an additional activation", ASYMM, "stages.1.0.project.act", 1, "replace_module(nn.ReLU())"),
    Fault("ReLU instead of hard-swish", ASYMM, "last.act", 1, "replace_module(nn.ReLU())"),
    Fault("hard-swish instead of SiLU", EFFICIENT, "stages.1.0.expand.act", 1, "replace_module(nn.Hardswish())"),
    Fault("SiLU instead of hard-swish", MOBILE, "stages.2.1.depthwise.act", 1, "replace_module(nn.SiLU())"),
    Fault("ReLU instead of ReLU6", MOBILE2, "stages.2.0.expand.act", 1, "replace_module(nn.ReLU())"),
    Fault("ReLU6 clipped at 5", MOBILE2, "stages.1.0.expand.act", 1, "replace_module(nn.Hardtanh(0.0, 5.0))"),
    Fault("ReLU6 instead of ReLU", SHUFFLE2, "last.act", 1, "replace_module(nn.ReLU6())"),
    Fault("leaky ReLU instead of ReLU", SHUFFLE1, "stages.0.1.reduce.act", 1, "replace_module(nn.LeakyReLU(0.01))"),
    Fault("ReLU before the normalisation", RES, "stages.0.2.spatial", 1,
          "replace_forward(lambda x: target.norm(F.relu(target.conv(x))))", "input of stages.0.2.spatial.norm"),
    Fault("tanh approximation of GELU", RD, "stages.0.blocks.1", 1,
          "replace_forward(lambda x: "
          "target.drop_path(target.se(target.project(F.gelu(target.expand(target.norm(target.depthwise(x))), "
          "approximate='tanh'))) * target.scale.reshape(-1, 1, 1)))", "input of stages.0.blocks.1.project"),
    Fault("sigmoid instead of hard-sigmoid", MOBILE, "stages.0.0.se.gate", 1, "replace_module(nn.Sigmoid())"),
    Fault("hard-sigmoid instead of sigmoid", EFFICIENT, "stages.3.1.se.gate", 1, "replace_module(nn.Hardsigmoid())"),
    Fault("hard-sigmoid with slope 0.2", ASYMM, "stages.2.1.se.gate", 1,
          "replace_forward(lambda x: (0.2 * x + 0.5).clamp(0, 1))"),
    Fault("hard-sigmoid with slope 0.1667", ASYMM, "stages.3.0.se.gate", 1,
          "replace_forward(lambda x: (0.1667 * x + 0.5).clamp(0, 1))"),
    Fault("softmax in the network", SHUFFLE1, "classifier", 1, "change_output(lambda y: y.softmax(1))"),
    Fault("the head's activation forgotten", DENSE, "norm", 1,
          "model.forward = lambda x: model.classifier(model.dropout(model.norm(model.stages(model.pool(model.stem(x))))"
          ".mean((2, 3))))", "input of dropout"),
)  # fmt: skip

GATES = (
    Fault("squeeze-and-excitation without gate", MOBILE, "stages.2.1.se.gate", 1, "replace_module(nn.Identity())"),
    Fault("gate and activation swapped", ASYMM, "stages.2.2.se", 1,
          "target.act, target.gate = target.gate, target.act",
          "stages.2.2.se.act"),
    Fault("squeeze over one axis", EFFICIENT, "stages.3.0.se", 0,
          "replace_forward(lambda x: x * target.gate(target.restore(target.act(target.reduce("
          "x.mean(3, keepdim=True))))))",
          "input of stages.3.0.se.reduce"),
    Fault("maximum instead of mean in squeeze-and-excitation", MOBILE, "stages.2.2.se", 1,
          "replace_forward(lambda x: x * target.gate(target.restore(target.act(target.reduce("
          "x.amax((2, 3), keepdim=True))))))",
          "input of stages.2.2.se.reduce"),
    Fault("gate added instead of multiplied", MOBILE, "stages.3.0.se", 1,
          "replace_forward(lambda x: x + target.gate(target.restore(target.act(target.reduce("
          "x.mean((2, 3), keepdim=True))))))"),
    Fault("squeeze to another width", ASYMM, "stages.2.0.se", 0,
          "replace_module(layers.SqueezeExcite(target.reduce.in_channels, target.reduce.out_channels + 8))",
          "stages.2.0.se.reduce*"),
    Fault("squeeze-and-excitation forgotten", MOBILE, "stages.2.3.se", 0, "replace_module(nn.Identity())",
          "stages.2.3.se.reduce*"),
    Fault("the gates of another image", MOBILE, "stages.2.4.se", 1,
          "replace_forward(lambda x: x * target.gate(target.restore(target.act(target.reduce("
          "x.mean((2, 3), keepdim=True))))).flip(0))"),
    Fault("gates of shortcut and branch swapped", GATED, "stages.0.1.addition", 1,
          "replace_forward(lambda x, y: target.gate(x).sigmoid() * x + (1 - target.gate(x).sigmoid()) * y)"),
)  # fmt: skip

POOLS = (
    Fault("mean instead of maximum in a pool", SHUFFLE2, "pool", 1, "replace_module(nn.AvgPool2d(3, 2, 1))"),
    Fault("maximum instead of mean in a pool", SHUFFLE1, "stages.1.0.pool", 1, "replace_module(nn.MaxPool2d(3, 2, 1))"),
    Fault("maximum instead of mean in a pool without padding", DENSE, "stages.1.transition.pool", 1,
          "replace_module(nn.MaxPool2d(2, 2))"),
    Fault("padding not counted in an average pool", SHUFFLE1, "stages.0.0.pool", 1, "target.count_include_pad = False"),
    Fault("zero padding of a maximum pool", RES2, "pool", 1,
          "replace_module(nn.Sequential(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)))"),
    Fault("no zero padding of a maximum pool", RES2_KERAS, "pool.0", 1,
          "replace_forward(lambda x: F.pad(x, (1,) * 4, value=-1e30))"),
    Fault("a pool that rounds sizes up", SHUFFLE2, "pool", 0, "target.ceil_mode = True"),
    Fault("stride of a pool", SHUFFLE1, "pool", 0, "target.stride = 1"),
    Fault("window size of a pool", SHUFFLE2_TV, "pool", 1, "target.kernel_size, target.padding = 5, 2"),
    Fault("subsampling at odd positions", RES2, "stages.0.2.shortcut", 1,
          "change_input(lambda x: x.roll((-1, -1), (2, 3)))", "input of stages.0.2.shortcut"),
    Fault("zero channels in front instead of behind", PADDED, "stages.1.0.match", 1,
          "replace_forward(lambda x: F.pad(target.sample(x), (0, 0, 0, 0, target.extra, 0)))"),
    Fault("bilinear resizing instead of adaptive pooling", VGG, "grid", 1,
          "replace_forward(lambda x: F.interpolate(x, (7, 7), mode='bilinear'))"),
)  # fmt: skip

NUMBERS = (
    Fault("one NaN", ASYMM, "hidden", 1, "change_output(lambda y: y.index_fill(1, torch.tensor(7), float('nan')))"),
    Fault("one infinity", SHUFFLE2, "stages.1.0.branch.0.norm", 1,
          "def change(y):\n    y = y.clone(); y[0, 3, 1, 1] = float('inf'); return y\nchange_output(change)"),
    Fault("one element", ASYMM, "stages.2.0.project.norm", 1,
          "def change(y):\n    y = y.clone(); y[-1, 3, 1, 1] += 0.01; return y\nchange_output(change)"),
    Fault("channels permuted", MOBILE2, "stages.1.0.expand.conv", 1, "change_output(lambda y: y.roll(1, 1))"),
    Fault("two channels swapped", MOBILE2, "stem.norm", 1,
          "change_output(lambda y: y[:, [1, 0, *range(2, y.shape[1])]])"),
    Fault("batch in reverse order", ASYMM, "stages.2.0", 1, "change_output(lambda y: y.flip(0))"),
    Fault("the first image for all images", SHUFFLE1, "stages.2.0", 1, "change_output(lambda y: y[:1].expand_as(y))"),
    Fault("only the first image of the batch", ASYMM, "", 1, "change_output(lambda y: y[:1])", "logits"),
    Fault("mirrored", MOBILE, "stages.0.0.depthwise.conv", 1, "change_output(lambda y: y.flip(3))"),
    Fault("rows and columns swapped", MOBILE2, "stem.act", 1,
          "change_output(lambda y: y.transpose(2, 3).contiguous().view_as(y))"),
    Fault("shifted by a pixel", SHUFFLE2, "stem.conv", 1, "change_output(lambda y: y.roll(1, 2))"),
    Fault("red and blue swapped", MOBILE, "stem.conv", 1, "change_input(lambda x: x.flip(1))",
          "input of stem | input of stem.conv"),
    Fault("classes permuted", MOBILE, "classifier", 1, "change_output(lambda y: y.flip(1))"),
    Fault("logits at another temperature", ASYMM, "classifier", 1, "change_output(lambda y: y / 2)"),
    Fault("a constant added", SHUFFLE1, "stages.1.0.expand.conv", 1, "change_output(lambda y: y + 0.01)"),
    Fault("sign flipped", MOBILE2, "stages.2.0.depthwise.conv", 1, "change_output(lambda y: -y)"),
)  # fmt: skip

OPERATORS = NORMS + CONVOLUTIONS + ACTIVATIONS + GATES + POOLS + NUMBERS
