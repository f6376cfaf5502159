"""Serves a GGUF file on 127.0.0.1 with llama.cpp's own server until its input ends."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.n_parallel, params.n_ctx, params.n_batch = 1, 1024, 128
params.cpuparams.n_threads = 1
params.verbosity, params.ui, params.cache_ram_mib = -1, False, 0
params.hostnames, params.port = ["127.0.0.1"], 0
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)  # noqa: T201 - the test reads it
sys.stdin.read()
