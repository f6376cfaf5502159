"""Distributed mixture-of-agents: many small language models, one better answer.

```python
async with dmoa.start() as node:
    answer = await node.ask("Why is the sky blue?")
```
"""

from dmoa import errors
from dmoa.assemble import start
from dmoa.core.effects import Answer, Trace, Visit
from dmoa.core.job import Sampling, Turn
from dmoa.core.mixture import Mixture
from dmoa.runtime.node import Node
from dmoa.runtime.streams import Draft, Progress, Token

__all__ = [
    "Answer",
    "Draft",
    "Mixture",
    "Node",
    "Progress",
    "Sampling",
    "Token",
    "Trace",
    "Turn",
    "Visit",
    "errors",
    "start",
]
