"""The MindSpore backend: `create_model("asymmnet_large", num_classes=16)` returns a plain mindspore.nn.Cell."""

from repro.interface.lazy import functions_of

__getattr__ = functions_of(__name__)


def version() -> str:
    """Return MindSpore's version. Raises ImportError where it is not installed."""
    import os
    import tempfile

    # both are read at the import
    os.environ.setdefault("GLOG_v", "3")  # log errors only
    os.environ.setdefault("MS_OM_PATH", tempfile.gettempdir())  # otherwise it leaves rank_0/ in the working directory
    import mindspore

    return mindspore.__version__
