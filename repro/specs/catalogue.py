"""The named variants: the function of the family, with the options that the name stands for."""

from __future__ import annotations

import inspect
from functools import partial

from repro.errors import unknown
from repro.specs.asymmnet import asymmnet, mobilenet_v3
from repro.specs.base import Spec
from repro.specs.densenet import densenet
from repro.specs.efficientnet_v2 import efficientnet_v2, efficientnet_v2_article
from repro.specs.mobilenet_v2 import mobilenet_v2
from repro.specs.rdnet import rdnet
from repro.specs.resnet import resnet, resnet_keras, resnet_v2, resnet_v2_article, resnet_v2_keras
from repro.specs.resnet_cifar import resnet_cifar
from repro.specs.shufflenet_v1 import shufflenet_v1
from repro.specs.shufflenet_v2 import shufflenet_v2
from repro.specs.vgg import vgg

CATALOGUE: dict[str, partial] = {
    # _x: width; _r: asymmrate (default 1; 2 needs a width of at least 0.5)
    "asymmnet_large": partial(asymmnet, "large"),
    "asymmnet_large_r0": partial(asymmnet, "large", asymmrate=0),
    "asymmnet_large_r2": partial(asymmnet, "large", asymmrate=2),
    "asymmnet_large_x0_75": partial(asymmnet, "large", width=0.75),
    "asymmnet_large_x0_75_r0": partial(asymmnet, "large", width=0.75, asymmrate=0),
    "asymmnet_large_x0_75_r2": partial(asymmnet, "large", width=0.75, asymmrate=2),
    "asymmnet_large_x0_5": partial(asymmnet, "large", width=0.5),
    "asymmnet_large_x0_5_r0": partial(asymmnet, "large", width=0.5, asymmrate=0),
    "asymmnet_large_x0_5_r2": partial(asymmnet, "large", width=0.5, asymmrate=2),
    "asymmnet_large_x0_35": partial(asymmnet, "large", width=0.35),
    "asymmnet_large_x0_35_r0": partial(asymmnet, "large", width=0.35, asymmrate=0),
    "asymmnet_small": partial(asymmnet, "small"),
    "asymmnet_small_r0": partial(asymmnet, "small", asymmrate=0),
    "asymmnet_small_r2": partial(asymmnet, "small", asymmrate=2),
    "asymmnet_small_x0_75": partial(asymmnet, "small", width=0.75),
    "asymmnet_small_x0_75_r0": partial(asymmnet, "small", width=0.75, asymmrate=0),
    "asymmnet_small_x0_75_r2": partial(asymmnet, "small", width=0.75, asymmrate=2),
    "asymmnet_small_x0_5": partial(asymmnet, "small", width=0.5),
    "asymmnet_small_x0_5_r0": partial(asymmnet, "small", width=0.5, asymmrate=0),
    "asymmnet_small_x0_5_r2": partial(asymmnet, "small", width=0.5, asymmrate=2),
    "asymmnet_small_x0_35": partial(asymmnet, "small", width=0.35),
    "asymmnet_small_x0_35_r0": partial(asymmnet, "small", width=0.35, asymmrate=0),
    "mobilenet_v3_large": partial(mobilenet_v3, "large"),
    "mobilenet_v3_large_x0_75": partial(mobilenet_v3, "large", width=0.75),
    "mobilenet_v3_large_x0_5": partial(mobilenet_v3, "large", width=0.5),
    "mobilenet_v3_large_x0_35": partial(mobilenet_v3, "large", width=0.35),
    "mobilenet_v3_small": partial(mobilenet_v3, "small"),
    "mobilenet_v3_small_x0_75": partial(mobilenet_v3, "small", width=0.75),
    "mobilenet_v3_small_x0_5": partial(mobilenet_v3, "small", width=0.5),
    "mobilenet_v3_small_x0_35": partial(mobilenet_v3, "small", width=0.35),
    # widths at which Keras's structure differs
    "mobilenet_v3_large_x0_75_keras": partial(mobilenet_v3, "large", width=0.75, structure="keras", padding="same"),
    "mobilenet_v3_small_x0_75_keras": partial(mobilenet_v3, "small", width=0.75, structure="keras", padding="same"),
    "densenet121": partial(densenet, 121),
    "densenet161": partial(densenet, 161),
    "densenet169": partial(densenet, 169),
    "densenet201": partial(densenet, 201),
    "rdnet_tiny": partial(rdnet, "tiny"),
    "rdnet_small": partial(rdnet, "small"),
    "rdnet_base": partial(rdnet, "base"),
    "rdnet_large": partial(rdnet, "large"),
    # every pair of groups and width for which all channels are integers
    "shufflenet_v1_g1_x0_25": partial(shufflenet_v1, 1, width=0.25),
    "shufflenet_v1_g1_x0_5": partial(shufflenet_v1, 1, width=0.5),
    "shufflenet_v1_g1_x1_0": partial(shufflenet_v1, 1, width=1.0),
    "shufflenet_v1_g1_x1_5": partial(shufflenet_v1, 1, width=1.5),
    "shufflenet_v1_g1_x2_0": partial(shufflenet_v1, 1, width=2.0),
    "shufflenet_v1_g2_x1_0": partial(shufflenet_v1, 2, width=1.0),
    "shufflenet_v1_g2_x2_0": partial(shufflenet_v1, 2, width=2.0),
    "shufflenet_v1_g3_x0_25": partial(shufflenet_v1, 3, width=0.25),
    "shufflenet_v1_g3_x0_5": partial(shufflenet_v1, 3, width=0.5),
    "shufflenet_v1_g3_x1_0": partial(shufflenet_v1, 3, width=1.0),
    "shufflenet_v1_g3_x1_5": partial(shufflenet_v1, 3, width=1.5),
    "shufflenet_v1_g3_x2_0": partial(shufflenet_v1, 3, width=2.0),
    "shufflenet_v1_g4_x1_0": partial(shufflenet_v1, 4, width=1.0),
    "shufflenet_v1_g4_x2_0": partial(shufflenet_v1, 4, width=2.0),
    "shufflenet_v1_g8_x0_5": partial(shufflenet_v1, 8, width=0.5),
    "shufflenet_v1_g8_x1_0": partial(shufflenet_v1, 8, width=1.0),
    "shufflenet_v1_g8_x1_5": partial(shufflenet_v1, 8, width=1.5),
    "shufflenet_v1_g8_x2_0": partial(shufflenet_v1, 8, width=2.0),
    # the authors' structure, unless the name ends with torchvision
    "shufflenet_v2_x0_5": partial(shufflenet_v2, "authors", width=0.5),
    "shufflenet_v2_x1_0": partial(shufflenet_v2, "authors", width=1.0),
    "shufflenet_v2_x1_5": partial(shufflenet_v2, "authors", width=1.5),
    "shufflenet_v2_x2_0": partial(shufflenet_v2, "authors", width=2.0, dropout=0.2),
    "shufflenet_v2_x0_5_torchvision": partial(shufflenet_v2, "torchvision", width=0.5),
    "shufflenet_v2_x1_0_torchvision": partial(shufflenet_v2, "torchvision", width=1.0),
    "shufflenet_v2_x1_5_torchvision": partial(shufflenet_v2, "torchvision", width=1.5),
    "shufflenet_v2_x2_0_torchvision": partial(shufflenet_v2, "torchvision", width=2.0),
    "mobilenet_v2": partial(mobilenet_v2),
    "mobilenet_v2_x1_4": partial(mobilenet_v2, width=1.4),
    "mobilenet_v2_x1_3": partial(mobilenet_v2, width=1.3),
    "mobilenet_v2_x0_75": partial(mobilenet_v2, width=0.75),
    "mobilenet_v2_x0_5": partial(mobilenet_v2, width=0.5),
    "mobilenet_v2_x0_35": partial(mobilenet_v2, width=0.35),
    # _same: padded as in TensorFlow, for the published weights; otherwise as in torchvision
    "efficientnet_v2_b0": partial(efficientnet_v2, "b0"),
    "efficientnet_v2_b0_same": partial(efficientnet_v2, "b0", padding="same"),
    "efficientnet_v2_b1": partial(efficientnet_v2, "b1"),
    "efficientnet_v2_b1_same": partial(efficientnet_v2, "b1", padding="same"),
    "efficientnet_v2_b2": partial(efficientnet_v2, "b2"),
    "efficientnet_v2_b2_same": partial(efficientnet_v2, "b2", padding="same"),
    "efficientnet_v2_b3": partial(efficientnet_v2, "b3"),
    "efficientnet_v2_b3_same": partial(efficientnet_v2, "b3", padding="same"),
    "efficientnet_v2_s": partial(efficientnet_v2, "s"),
    "efficientnet_v2_s_same": partial(efficientnet_v2, "s", padding="same"),
    "efficientnet_v2_m": partial(efficientnet_v2, "m"),
    "efficientnet_v2_m_same": partial(efficientnet_v2, "m", padding="same"),
    "efficientnet_v2_l": partial(efficientnet_v2, "l"),
    "efficientnet_v2_l_same": partial(efficientnet_v2, "l", padding="same"),
    "efficientnet_v2_xl": partial(efficientnet_v2, "xl"),
    "efficientnet_v2_xl_same": partial(efficientnet_v2, "xl", padding="same"),
    "efficientnet_v2_s_article": partial(efficientnet_v2_article),
    "resnet50": partial(resnet, 50),
    "resnet101": partial(resnet, 101),
    "resnet152": partial(resnet, 152),
    "resnet50_keras": partial(resnet_keras, 50),
    "resnet101_keras": partial(resnet_keras, 101),
    "resnet152_keras": partial(resnet_keras, 152),
    # version 2 of the paper, of Keras and of the article
    "resnet50_v2": partial(resnet_v2, 50),
    "resnet101_v2": partial(resnet_v2, 101),
    "resnet152_v2": partial(resnet_v2, 152),
    "resnet50_v2_keras": partial(resnet_v2_keras, 50),
    "resnet101_v2_keras": partial(resnet_v2_keras, 101),
    "resnet152_v2_keras": partial(resnet_v2_keras, 152),
    "resnet50_v2_article": partial(resnet_v2_article, 50),
    # for CIFAR; a name ends with the shortcut of Table 1 or the activation of Table 2, unless it is the original
    "resnet110_cifar": partial(resnet_cifar, depth=110, block="basic"),
    "resnet110_cifar_scaled": partial(resnet_cifar, depth=110, block="basic", shortcut="scaled"),
    "resnet110_cifar_scaled_shortcut": partial(resnet_cifar, depth=110, block="basic", shortcut="scaled_shortcut"),
    "resnet110_cifar_exclusive_gating": partial(resnet_cifar, depth=110, block="basic", shortcut="exclusive_gating"),
    "resnet110_cifar_shortcut_gating": partial(resnet_cifar, depth=110, block="basic", shortcut="shortcut_gating"),
    "resnet110_cifar_conv1x1": partial(resnet_cifar, depth=110, block="basic", shortcut="conv1x1"),
    "resnet110_cifar_dropout": partial(resnet_cifar, depth=110, block="basic", shortcut="dropout"),
    "resnet110_cifar_bn_after": partial(resnet_cifar, depth=110, block="basic", activation="bn_after"),
    "resnet110_cifar_relu_before": partial(resnet_cifar, depth=110, block="basic", activation="relu_before"),
    "resnet110_cifar_relu_preact": partial(resnet_cifar, depth=110, block="basic", activation="relu_preact"),
    "resnet110_cifar_full_preact": partial(resnet_cifar, depth=110, block="basic", activation="full_preact"),
    # both with the activation that the paper recommends
    "resnet164_cifar": partial(resnet_cifar, depth=164, block="bottleneck", activation="full_preact"),
    "resnet1001_cifar": partial(resnet_cifar, depth=1001, block="bottleneck", activation="full_preact"),
    "vgg16": partial(vgg, 16),
    "vgg16_bn": partial(vgg, 16, normalised=True),
    "vgg19": partial(vgg, 19),
    "vgg19_bn": partial(vgg, 19, normalised=True),
}


def find_spec(model: str | Spec, **options: object) -> Spec:
    """Return the spec of a variant, with `num_classes`, `in_channels` and the family's other options replaced.

    A spec is returned as it is: it has its options already. Raises ReproError for an unknown name or option, with the
    nearest known ones.
    """
    if isinstance(model, Spec):
        return model
    if model not in CATALOGUE:
        raise unknown("model", model, CATALOGUE)
    build = CATALOGUE[model]
    settable = set(inspect.signature(build).parameters) - {"name"}
    for option in options:
        if option not in settable:
            raise unknown(f"option of {model}", option, settable)
    return build(**options, name=model)


def smallest_variants() -> list[str]:
    """Return the variant with the fewest MACs of every family, in the order of the catalogue."""
    names: dict[str, str] = {}
    for spec in sorted(map(find_spec, CATALOGUE), key=lambda spec: (spec.macs, spec.name)):
        names.setdefault(spec.family, spec.name)
    return [name for name in CATALOGUE if name in names.values()]
