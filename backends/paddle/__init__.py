"""The PaddlePaddle backend: `create_model("asymmnet_large", num_classes=16)` returns a plain paddle.nn.Layer."""

from repro.interface.lazy import functions_of
from repro.interface.mkl import use_avx2_on_amd

use_avx2_on_amd()  # before Paddle is imported
__getattr__ = functions_of(__name__)


def version() -> str:
    """Return Paddle's version. Raises ImportError where it is not installed."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that ccache is missing, which only compiles extensions
        import paddle

    return paddle.__version__
