"""What the service needs from outside."""

from __future__ import annotations

from importlib.util import find_spec

from crossworld.errors import MissingExtraError

SERVICE = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
EXPORT = ("onnx", "onnxruntime")


def need(feature: str, packages: tuple[str, ...] = SERVICE) -> None:
    """Refuse a feature whose packages are not installed, with the command that brings them.

    Raises
    ------
    MissingExtraError
        If one of the packages is missing.

    Examples
    --------
    >>> need("nothing", ("json",))
    """
    if any(find_spec(package) is None for package in packages):
        raise MissingExtraError.for_feature(feature, "serve")
