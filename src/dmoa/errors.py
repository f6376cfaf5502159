"""Every error dmoa raises, in one tree.

```text
DmoaError                          code, status, hint; never raised itself
├── UsageError                     400  exit 2   what was asked for cannot be
│   ├── ConfigError                              names the file and key, or the variable
│   │   └── KeyFileError           503           the keys of the API cannot be relied on
│   ├── InvalidKeyError            401           the API wants a key, and got none or a wrong one
│   ├── RealmError                               a realm that cannot be, or is not here
│   │   └── InviteError            403           an invitation that is not, or no longer, good
│   ├── MixtureError                             a mixture outside the limits
│   ├── NetworkShapeError                        a network that cannot be, to plan or simulate
│   │   └── LawError                             a law of chance that cannot be
│   ├── MissingExtraError                        an optional part of dmoa is not installed
│   ├── ModelNotFoundError         404           no such model is offered here
│   ├── ResponseNotFoundError      404           no such response is kept here
│   └── ConflictError              409           it clashes with what is there, or was asked before
├── ProtocolError                                abstract
│   ├── LocalProtocolError         500           this node broke the protocol: a bug
│   └── RemoteProtocolError        502           a peer broke it: counted, dropped, never fatal
│       ├── VersionError                         a peer speaks another version of the wire
│       └── ForgedError                          a message that its speaker did not seal
├── QueryError                          exit 1   this query has no answer
│   ├── OverloadedError            429           a limit was reached; carries retry_after
│   └── ExpiredError               504           its deadline passed
├── BackendError                   502           the language model failed
│   ├── BackendUnavailableError    503           it cannot be reached, or died
│   ├── BackendRefusedError        400           bad key, model or parameter; its own words
│   │   └── ContextLengthError                   the prompt does not fit its context
│   ├── BackendRubbishError        502           it answered what cannot be understood
│   └── BackendTimeoutError        504           it stalled
├── StoreError                     503           what must last cannot be kept, or be read
└── NetworkError                   503           the network between the nodes failed
    ├── UnreachableError                         nothing ran there; another peer may be asked
    ├── PeerGoneError                            the peer vanished; its job may have run
    └── PeerSilentError                          the peer stayed silent past the patience
```

An operating fault inside the core is a value (`dmoa.core.job.Fault`); these classes
exist where a person or HTTP reads them. A lost peer is no error: a layer goes on.
"""

from __future__ import annotations


class DmoaError(Exception):
    """The root of all of dmoa's errors; `hint` says what to do about it.

    `trace` is what happened to the query, where it was one (`dmoa.core.effects.Trace`).
    """

    code = "dmoa_error"
    status = 500
    exit_code = 1
    trace: object | None = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(DmoaError):
    """What was asked for cannot be."""

    code = "invalid_request"
    status = 400
    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or wrong; the message names the file and key, or the variable."""

    code = "invalid_config"


class KeyFileError(ConfigError):
    """The keys of the API cannot be read, or be relied on: nobody is let in."""

    code = "key_file_broken"
    status = 503


class InvalidKeyError(UsageError):
    """The API wants a key, and got none or a wrong one; never says which."""

    code = "invalid_api_key"
    status = 401


class RealmError(UsageError):
    """A realm that cannot be, or is not here."""

    code = "invalid_realm"


class InviteError(RealmError):
    """An invitation that is not good, or no longer; never says which to strangers."""

    code = "invalid_invite"
    status = 403


class MixtureError(UsageError):
    """A mixture outside the limits."""

    code = "invalid_mixture"


class NetworkShapeError(UsageError):
    """A network that cannot be: rates, times, slots or a graph of peers."""

    code = "invalid_network"


class LawError(NetworkShapeError):
    """A law of arrivals or of service that cannot be, such as one without a mean."""

    code = "invalid_law"


class MissingExtraError(UsageError):
    """An optional part of dmoa is not installed; the hint says how to."""

    code = "missing_extra"


class ModelNotFoundError(UsageError):
    """No such model is offered here."""

    code = "model_not_found"
    status = 404


class ResponseNotFoundError(UsageError):
    """No such response is kept here."""

    code = "response_not_found"
    status = 404


class ConflictError(UsageError):
    """It clashes with what is there, or with what was asked before under the same key."""

    code = "conflict"
    status = 409


class ProtocolError(DmoaError):
    """The protocol between nodes was broken."""

    code = "protocol_error"


class LocalProtocolError(ProtocolError):
    """This node broke the protocol: a bug."""

    code = "local_protocol_error"


class RemoteProtocolError(ProtocolError):
    """A peer broke the protocol: its message is counted and dropped."""

    code = "remote_protocol_error"
    status = 502


class VersionError(RemoteProtocolError):
    """A peer speaks another version of the wire."""

    code = "version_mismatch"


class ForgedError(RemoteProtocolError):
    """A message that its speaker did not seal: nobody is to blame for it by name."""

    code = "forged"


class QueryError(DmoaError):
    """This query has no answer."""

    code = "query_failed"


class OverloadedError(QueryError):
    """A limit was reached; come back after `retry_after` seconds.

    `position` is the place that the query would have had in the queue, None where unknown.
    """

    code = "overloaded"
    status = 429

    def __init__(
        self,
        message: str,
        *,
        retry_after: float,
        position: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after
        self.position = position


class ExpiredError(QueryError):
    """The query's deadline passed before it had an answer."""

    code = "deadline_exceeded"
    status = 504


class BackendError(DmoaError):
    """The language model behind this node failed."""

    code = "backend_failed"
    status = 502


class BackendUnavailableError(BackendError):
    """The backend cannot be reached, is loading, or died."""

    code = "backend_unavailable"
    status = 503


class BackendRefusedError(BackendError):
    """The backend refused the request; the message carries its own words."""

    code = "backend_refused"
    status = 400


class ContextLengthError(BackendRefusedError):
    """The prompt does not fit the model's context (counts in tokens, 0 where unknown)."""

    code = "context_length_exceeded"

    def __init__(
        self,
        message: str,
        *,
        prompt_tokens: int = 0,
        context_tokens: int = 0,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens


class BackendRubbishError(BackendError):
    """The backend answered what cannot be understood."""

    code = "backend_rubbish"


class BackendTimeoutError(BackendError):
    """The backend stalled: no token within the patience."""

    code = "backend_timeout"
    status = 504


class StoreError(DmoaError):
    """What must last cannot be kept, or be read."""

    code = "store_failed"
    status = 503


class NetworkError(DmoaError):
    """The network between the nodes failed."""

    code = "network_failed"
    status = 503


class UnreachableError(NetworkError):
    """Nothing ran at the peer; another may be asked."""

    code = "unreachable"


class PeerGoneError(NetworkError):
    """The peer vanished in the middle; its job may have run."""

    code = "peer_gone"


class PeerSilentError(NetworkError):
    """The peer stayed silent past the patience."""

    code = "peer_silent"
