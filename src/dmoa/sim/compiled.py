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
HOUSE = "dmoa."
_done: dict[str, Any] = {}


def is_available() -> bool:
    """Tell whether numba is installed; it is not imported for that."""
    return find_spec("numba") is not None


def compiled(function: F) -> F:
    """Compile a function and those it calls; numba must be installed.

    The compiler is started by the first call of what is returned, or by none where an earlier
    run has left its work (`is_kept`).
    """
    numba: Any = import_module("numba")
    if numba.config.DISABLE_JIT:
        return function
    name = f"{function.__module__}.{function.__qualname__}"
    if name not in _done:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = _folder(before, function)
        try:
            _done[name] = _translated(numba, cast("FunctionType", function), {}, kept=True)
        finally:
            numba.config.CACHE_DIR = before
    return cast("F", _done[name])


def is_kept(function: Callable[..., Any]) -> bool:
    """Tell whether the work of the compiler is there, from an earlier run or from this one."""
    cache = getattr(function, "_cache", None)
    if cache is None or getattr(function, "signatures", None):
        return True
    try:
        return bool(cache._cache_file._load_index())  # noqa: SLF001  (numba has no other way)
    except (AttributeError, OSError):
        return False


def _reached(function: FunctionType) -> dict[str, FunctionType]:
    """Find the functions of this package that one names."""
    found: dict[str, FunctionType] = {}
    for name in function.__code__.co_names:
        called = function.__globals__.get(name)
        if isinstance(called, FunctionType) and called.__module__.startswith(HOUSE):
            found[name] = called
    return found


def _translated(
    numba: Any, function: FunctionType, done: dict[FunctionType, Any], *, kept: bool = False
) -> Any:
    """Compile a function whose globals are compiled before it."""
    if function not in done:
        if function is draws.mix:
            words: Any = import_module("numpy")
            function_too = draws.mix_compiled(words.uint64, words.int64)
            done[function] = numba.njit(
                forceinline=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True
            )(function_too)
            return done[function]
        names = dict(function.__globals__)
        for name, called in _reached(function).items():
            names[name] = _translated(numba, called, done)
        twin = FunctionType(function.__code__, names, function.__name__)
        twin.__module__, twin.__qualname__ = function.__module__, function.__qualname__
        if kept:
            done[function] = _cached(numba, twin)
        else:
            done[function] = numba.njit(
                forceinline=True,
                error_model="numpy",
                _nrt=False,
                no_cpython_wrapper=True,
                no_cfunc_wrapper=True,
            )(twin)
    return done[function]


def _cached(numba: Any, function: FunctionType) -> Any:
    """Compile with a cache, or without one where nothing can be written."""
    try:
        return numba.njit(cache=True, error_model="numpy", _nrt=False)(function)
    except RuntimeError:
        return numba.njit(error_model="numpy")(function)


def _folder(chosen: str, function: Callable[..., Any]) -> str:
    """Name the folder for what is compiled: in numba's own, if that was set, or the user's."""
    sources: list[str] = []
    functions = [cast("FunctionType", function)]
    for each in functions:
        sources.append(inspect.getsource(inspect.getmodule(each) or each))
        functions += [called for called in _reached(each).values() if called not in functions]
    digest = sha256("".join(dict.fromkeys(sources)).encode()).hexdigest()[:16]
    place: Any = import_module("numba.misc.appdirs")
    return f"{chosen or place.user_cache_dir('dmoa', appauthor=False)}/kernel-{digest}"
