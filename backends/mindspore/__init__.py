"""MindSpore. `create_model("asymmnet_large", num_classes=16)` is a plain mindspore.nn.Cell."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    import os
    import tempfile

    os.environ.setdefault("GLOG_v", "3")  # errors alone; must be set before the import
    os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())  # or it leaves rank_0/ in the working directory
    import mindspore

    return mindspore.__version__
