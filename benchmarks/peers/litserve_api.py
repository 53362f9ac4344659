"""LitServe: starts a server for one LitAPI with production settings (no access log, uvloop, one worker, queue over ZeroMQ)."""

import argparse
import os

import litserve as ls


def serve(api):
    """Serve until stopped; reads `--port`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    server = ls.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=1,
        timeout=60,
        fast_queue=os.environ.get("LITSERVE_FAST_QUEUE", "1") == "1",
    )
    server.run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
