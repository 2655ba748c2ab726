"""The networks, one file per family, and the table that finds the network of a spec."""

from __future__ import annotations

from torch import nn

from backends.torch.models.asymmnet import AsymmNet
from backends.torch.models.densenet import DenseNet
from backends.torch.models.efficientnet_v2 import EfficientNetV2
from backends.torch.models.mobilenet_v2 import MobileNetV2
from backends.torch.models.rdnet import RDNet
from backends.torch.models.resnet import ResNet, ResNetV2
from backends.torch.models.resnet_cifar import ResNetCifar
from backends.torch.models.shufflenet_v1 import ShuffleNetV1
from backends.torch.models.shufflenet_v2 import ShuffleNetV2
from backends.torch.models.vgg import VGG
from repro.specs import Spec
from repro.specs.asymmnet import AsymmNetSpec
from repro.specs.densenet import DenseNetSpec
from repro.specs.efficientnet_v2 import EfficientNetV2Spec
from repro.specs.mobilenet_v2 import MobileNetV2Spec
from repro.specs.rdnet import RDNetSpec
from repro.specs.resnet import ResNetSpec, ResNetV2Spec
from repro.specs.resnet_cifar import ResNetCifarSpec
from repro.specs.shufflenet_v1 import ShuffleNetV1Spec
from repro.specs.shufflenet_v2 import ShuffleNetV2Spec
from repro.specs.vgg import VGGSpec

FAMILIES: dict[type[Spec], type[nn.Module]] = {
    AsymmNetSpec: AsymmNet,
    DenseNetSpec: DenseNet,
    EfficientNetV2Spec: EfficientNetV2,
    MobileNetV2Spec: MobileNetV2,
    RDNetSpec: RDNet,
    ResNetSpec: ResNet,
    ResNetV2Spec: ResNetV2,
    ResNetCifarSpec: ResNetCifar,
    ShuffleNetV1Spec: ShuffleNetV1,
    ShuffleNetV2Spec: ShuffleNetV2,
    VGGSpec: VGG,
}
