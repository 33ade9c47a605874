"""A black box behind HTTP: the Open Inference Protocol v2, or a small form of our own."""

from dax_lightning.black_box.http.forms import Form, Pixels
from dax_lightning.black_box.http.model import HttpModel, from_http
from dax_lightning.black_box.http.wire import Retry, Wire

__all__ = ["Form", "HttpModel", "Pixels", "Retry", "Wire", "from_http"]
