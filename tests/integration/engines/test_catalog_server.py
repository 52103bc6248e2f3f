"""The promises of CatalogServer that everything else is tested on."""

import socket
import threading

import pyarrow as pa
import pytest
import requests
from pyarrow import fs
from pyiceberg.catalog import load_catalog
from pyiceberg.exceptions import RESTError

from seamark.local.engines import CatalogServer, PortInUseError

ROW = pa.table({"number": pa.array([1], pa.int64())})
ACKNOWLEDGED_BEFORE_KILL = 3


def test_kill_9_keeps_every_acknowledged_commit_whole(lake, catalog_server, wait_until):
    name = f"{lake.namespace}.kill"
    table = lake.catalog.create_table(name, ROW.schema, properties={"commits": "0"})
    acknowledged = 0

    def commit_until_it_fails() -> None:
        nonlocal acknowledged
        try:
            while True:
                with table.transaction() as transaction:
                    transaction.set_properties({"commits": str(acknowledged + 1)})
                    transaction.append(ROW)
                acknowledged += 1
        except (requests.RequestException, RESTError, OSError):
            return  # killed: this commit was not acknowledged

    committing = threading.Thread(target=commit_until_it_fails)
    committing.start()
    wait_until(lambda: acknowledged >= ACKNOWLEDGED_BEFORE_KILL, "commits are acknowledged")
    catalog_server.kill()
    committing.join()
    catalog_server.start()

    after = load_catalog("lake", **lake.properties).load_table(name)
    rows = after.scan().to_arrow().num_rows
    assert rows in (acknowledged, acknowledged + 1)  # the one in flight may have landed
    assert after.properties["commits"] == str(rows), "property and rows landed apart"


def test_clean_stop_and_start_resume_the_directory(tmp_path):
    first = CatalogServer(tmp_path)
    first.start()
    table = load_catalog("lake", **first.properties())
    table.create_namespace("kept")
    table.create_table("kept.rows", ROW.schema).append(ROW)
    first.stop()
    assert first.process.pid is None

    second = CatalogServer(tmp_path)
    second.start()
    try:
        assert second.properties() == first.properties(), "clients must find it where it was"
        assert load_catalog("lake", **second.properties()).load_table("kept.rows").scan().count() == 1
    finally:
        second.kill()


def test_state_bucket_takes_files_outside_of_any_table(catalog_server):
    properties = catalog_server.properties()
    store = fs.S3FileSystem(
        access_key=properties["s3.access-key-id"],
        secret_key=properties["s3.secret-access-key"],
        endpoint_override=properties["s3.endpoint"],
        region=properties["s3.region"],
    )
    path = catalog_server.state_uri.removeprefix("s3://") + "/folder/file"
    with store.open_output_stream(path) as out:
        out.write(b"state")
    assert store.open_input_stream(path).read() == b"state"


def test_wrong_credentials_are_refused(catalog_server):
    properties = catalog_server.properties() | {"credential": "someone:else"}
    with pytest.raises(RESTError):
        load_catalog("lake", **properties).list_namespaces()


def test_paused_catalog_is_silent_until_resumed(catalog_server):
    uri = f"{catalog_server.properties()['uri']}/v1/config"
    catalog_server.process.pause()
    try:
        with pytest.raises(requests.Timeout):
            requests.get(uri, timeout=0.5)
    finally:
        catalog_server.process.resume()
    assert requests.get(uri, timeout=20).status_code in (200, 401, 403)


def test_taken_port_is_named_with_its_setting(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=rf"port {port} \(iceberg\).*ports\.json"):
            CatalogServer(tmp_path, port=port).start()
