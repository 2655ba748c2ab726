"""Functions that build the ResNet-18 of a package of each framework."""


def torch():
    import torchvision

    return torchvision.models.resnet18(num_classes=10)


def paddle():
    import paddle

    return paddle.vision.models.resnet18(num_classes=10)


def mindspore():
    import mindcv

    return mindcv.create_model("resnet18", num_classes=10)
