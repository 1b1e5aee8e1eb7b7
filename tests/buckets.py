"""Object stores on this machine that speak the protocols of S3 and GCS."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Iterator

import boto3
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

NAMES = itertools.count()


@contextlib.contextmanager
def s3() -> Iterator[Callable[[], str]]:
    """A server of S3; makes addresses of empty folders in its bucket."""
    os.environ |= {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_EC2_METADATA_DISABLED": "true"}
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="bucket")
    try:
        yield lambda: f"s3://bucket/sweeps/{next(NAMES)}?region=us-east-1&endpoint_override={endpoint}"
    finally:
        server.stop()


@contextlib.contextmanager
def gs() -> Iterator[Callable[[], str]]:
    """A server of Google's storage; the same."""
    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    host, port = server._api._httpd.server_address  # it was asked for any free port
    try:
        yield lambda: f"gs://anonymous@bucket/sweeps/{next(NAMES)}?scheme=http&endpoint_override={host}:{port}&retry_limit_seconds=20"
    finally:
        server.stop()
