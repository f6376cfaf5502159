"""Functions made quick: compiled by numba where it is installed, as they stand where it is not.

`compiled(function)` compiles it and every function of this package that it calls: the kernel
and the policies of the core are written once, in Python that a compiler can follow. Compiling
takes half a minute, and is kept in the user's cache: in a folder named by a hash of all sources
that went into it, because numba itself would notice a change only in the first of the files.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import Any, TypeVar, cast

from dmoa.sim import draws

F = TypeVar("F", bound=Callable[..., Any])
"""Any function."""

_HOUSE = "dmoa."
# Nothing is allocated, so that no array needs a count of its users: counting made the kernel 30
# times slower. Within the whole, functions cost nothing and need no way in from Python.
_WHOLE = {"error_model": "numpy", "_nrt": False}
_PART = {**_WHOLE, "forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_done: dict[FunctionType, Any] = {}


def is_available() -> bool:
    """Tell whether numba is installed; it is not imported for that."""
    return find_spec("numba") is not None


def compiled(function: F) -> F:
    """Compile a function and those it calls; numba must be installed.

    The compiler is started by the first call of what is returned, or by none where an earlier
    run has left its work (`is_kept`).
    """
    numba: Any = import_module("numba")
    whole = cast("FunctionType", function)
    if numba.config.DISABLE_JIT:
        return function
    if whole not in _done:
        _done[whole] = _kept(numba, _twin(numba, whole, {}), _folder(numba, whole))
    return cast("F", _done[whole])


def is_kept(function: Callable[..., Any]) -> bool:
    """Tell whether the work of the compiler is there, from an earlier run or from this one."""
    cache = getattr(function, "_cache", None)
    if cache is None or getattr(function, "signatures", None):
        return True
    index = getattr(getattr(cache, "_cache_file", None), "_load_index", dict[str, str])
    return bool(index())


def reached(function: FunctionType) -> list[FunctionType]:
    """List the functions of this package that one needs, itself first."""
    found = [function]
    for each in found:
        found += [called for called in _named(each).values() if called not in found]
    return found


def _named(function: FunctionType) -> dict[str, FunctionType]:
    found: dict[str, FunctionType] = {}
    for name in function.__code__.co_names:
        called = function.__globals__.get(name)
        if isinstance(called, FunctionType) and called.__module__.startswith(_HOUSE):
            found[name] = called
    return found


def _twin(numba: Any, function: FunctionType, done: dict[FunctionType, Any]) -> FunctionType:
    """Make the same function, to which all that it calls are compiled ones."""
    names = dict(function.__globals__)
    for name, called in _named(function).items():
        if called not in done:
            part = _in_words() if called is draws.mix else _twin(numba, called, done)
            done[called] = numba.njit(**_PART)(part)
        names[name] = done[called]
    twin = FunctionType(function.__code__, names, function.__name__)
    twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
    return twin


def _in_words() -> Callable[[int, int], int]:
    numpy: Any = import_module("numpy")
    return draws.mix_compiled(numpy.uint64, numpy.int64)


def _folder(numba: Any, function: FunctionType) -> str:
    """Name the folder for what is compiled: in numba's own if that was set, or the user's."""
    modules = [import_module(each.__module__) for each in reached(function)]
    modules.append(import_module(__name__))
    sources = dict.fromkeys(inspect.getsource(each) for each in modules)
    digest = sha256("".join(sources).encode()).hexdigest()[:16]
    place: Any = import_module("numba.misc.appdirs")
    root = numba.config.CACHE_DIR or place.user_cache_dir("dmoa", appauthor=False)
    return f"{root}/kernel-{digest}"


def _kept(numba: Any, function: FunctionType, folder: str) -> Any:
    """Compile with that folder as its cache, or without one where nothing can be written there."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = folder
    try:
        whole = numba.njit(cache=True, **_WHOLE)(function)
        # numba would fall back to places where it does not notice changes
        if str(whole._cache.cache_path).startswith(folder):  # noqa: SLF001
            return whole
    except RuntimeError:  # no place at all
        pass
    finally:
        numba.config.CACHE_DIR = before
    return numba.njit(**_WHOLE)(function)
