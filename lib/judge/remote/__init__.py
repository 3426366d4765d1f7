"""Judging on SandboxFusion servers: `sandbox_fusion` replaces the worker here, `driver` the judge on the server."""
