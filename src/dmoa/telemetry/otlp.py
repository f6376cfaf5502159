"""Sends spans to a collector, as OTLP over HTTP, by OpenTelemetry's own SDK (extra `otel`).

Spans wait in a bounded queue and leave from a thread of the SDK's: where the collector is slow
or gone, they are dropped, and the node never waits. What the SDK reads from its own variables
holds as well, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_RESOURCE_ATTRIBUTES.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import suppress
from importlib.metadata import version

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.id_generator import IdGenerator
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON
except ImportError as error:
    from dmoa.errors import ConfigError

    raise ConfigError(
        "to send traces, as the setting otlp has it, needs OpenTelemetry",
        hint="pip install 'dmoa[otel]'",
    ) from error

from opentelemetry import context as otel
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from dmoa.core.names import NodeId
from dmoa.telemetry.context import Context
from dmoa.telemetry.spans import Span

QUEUED = 2048
"""Spans that wait to be sent; the oldest beyond are dropped."""
EVERY = 1.0
"""Seconds between two batches."""
PATIENCE = 2.0
"""Seconds for the collector to take a batch, and for the last ones as the node closes."""

SAID = 60.0
"""Seconds between two lines of the log about a collector that takes no spans."""

_PATH = "/v1/traces"
_EXPORTER = logging.getLogger(OTLPSpanExporter.__module__)
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT}


class _Seldom(logging.Filter):
    """Lets the exporter say once in a while, and not at each batch, that nobody takes spans."""

    def __init__(self) -> None:
        super().__init__()
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next:
            return False
        self._next = record.created + SAID
        return True


_seldom = _Seldom()
"""One for all nodes of a process: to add it twice changes nothing."""


class _Named(IdGenerator):
    """Gives the next span the name that was chosen for it."""

    def __init__(self) -> None:
        self.next = Context(1, 1)

    def generate_trace_id(self) -> int:
        return self.next.trace

    def generate_span_id(self) -> int:
        return self.next.span


class Otlp:
    """An `Export` to the collector at a URL such as `http://127.0.0.1:4318`."""

    def __init__(self, url: str, node: NodeId) -> None:
        self._url = url if url.endswith(_PATH) else url + _PATH
        told = {"service.version": version("dmoa"), "service.instance.id": node}
        self._resource = Resource.create({"service.name": "dmoa", **told})
        self._names = _Named()
        self._provider: TracerProvider | None = None
        _EXPORTER.addFilter(_seldom)

    def send(self, span: Span) -> None:
        """Take a span that ended."""
        if self._provider is None:
            self._provider = self._begin()
        self._names.next = span.context
        made = self._provider.get_tracer("dmoa", version("dmoa")).start_span(
            span.name,
            context=_below(span.parent),
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            start_time=span.began,
        )
        for moment in span.moments:
            made.add_event(moment.name, moment.attributes, timestamp=moment.at)
        if span.error:
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(span.ended)

    def _begin(self) -> TracerProvider:
        provider = TracerProvider(
            sampler=ALWAYS_ON,  # whoever asked decided
            resource=self._resource,
            id_generator=self._names,
            shutdown_on_exit=False,
        )
        provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=self._url, timeout=PATIENCE),
                max_queue_size=QUEUED,
                schedule_delay_millis=1000 * EVERY,
            )
        )
        return provider

    async def close(self) -> None:
        """Send what is left; what the collector does not take in time is lost."""
        provider, self._provider = self._provider, None
        if provider is None:
            return
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # A thread of its own: to end the program waits for those of the loop, and not for this.
        threading.Thread(target=end, name="traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await done.wait()


def _below(parent: Context | None) -> otel.Context:
    """Place a span below another one, of whatever node, and below nothing else."""
    if parent is None:
        return otel.Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT)
    known = SpanContext(parent.trace, parent.span, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(known), otel.Context())
