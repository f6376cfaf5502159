"""The shape of a mixture: M layers of k+1 proposers, then one aggregator."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dmoa.errors import MixtureError

_NAME = re.compile(r"m(\d{1,3})k(\d{1,3})")


@dataclass(frozen=True, slots=True, order=True)
class Mixture:
    """Layers M and fanout k of one query (arXiv 2412.21200, Algorithm 1).

    `layers` is M >= 0, the rounds of proposals; 0 means home's own model alone.
    `fanout` is k >= 0, the peers sampled for each layer; home proposes as well.
    """

    layers: int = 1
    fanout: int = 2

    def __post_init__(self) -> None:
        """Refuse negative shapes."""
        if self.layers < 0 or self.fanout < 0:
            raise MixtureError(
                f"a mixture needs layers >= 0 and fanout >= 0, got {self.layers} and {self.fanout}"
            )

    @property
    def visits(self) -> int:
        """Jobs that one query brings to the network: (k+1)M + 1 (Theorem 1)."""
        return (self.fanout + 1) * self.layers + 1

    @property
    def name(self) -> str:
        """The short name, as in the model name `dmoa-m1k2`."""
        return f"m{self.layers}k{self.fanout}"

    @staticmethod
    def is_name(name: str) -> bool:
        """Tell whether `name` is the short name of a mixture."""
        return _NAME.fullmatch(name) is not None

    @classmethod
    def parse(cls, name: str) -> Mixture:
        """Read a short name such as `m2k3`; MixtureError if it is none."""
        match = _NAME.fullmatch(name)
        if match is None:
            raise MixtureError(
                f"{name!r} is not a mixture", hint="write it as mMkK, for example m1k2"
            )
        return cls(layers=int(match[1]), fanout=int(match[2]))


ALONE = Mixture(layers=0, fanout=0)
"""Home's own model alone."""
