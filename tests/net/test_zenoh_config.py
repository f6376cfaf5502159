from __future__ import annotations

import json
import socket

import pytest

from dmoa.core.limits import Limits
from dmoa.errors import ConfigError, NetworkError
from dmoa.net import zenoh_config
from dmoa.net.zenoh_config import ZenohSettings, choose_ports, make_config


def written(settings: ZenohSettings, path: str) -> object:
    return json.loads(make_config(settings, ("tcp/127.0.0.1:7447",), Limits()).get_json(path))


def test_what_must_never_be_left_to_chance_is_written_down() -> None:
    settings = ZenohSettings(connect=("tcp/10.0.0.7:7447",))
    assert written(settings, "mode") == "peer"
    assert written(settings, "namespace") == "dmoa/home"
    assert written(settings, "scouting/multicast/enabled") is False
    assert written(settings, "scouting/gossip/enabled") is True
    assert written(settings, "transport/shared_memory/enabled") is False
    assert written(settings, "listen/endpoints") == ["tcp/127.0.0.1:7447"]
    assert written(settings, "connect/endpoints") == ["tcp/10.0.0.7:7447"]
    assert written(settings, "transport/link/tx/lease") == 5000
    assert written(settings, "transport/link/rx/max_message_size") == 16 * 1024 * 1024
    wait = written(settings, "transport/link/tx/queue/congestion_control/block/wait_before_close")
    assert wait == 1_000_000


def test_realms_scout_apart() -> None:
    def address(realm: str) -> object:
        return written(ZenohSettings(realm=realm, multicast=True), "scouting/multicast/address")

    assert address("home") == address("home")
    assert address("home") != address("lab")
    assert written(ZenohSettings(multicast=True), "scouting/multicast/enabled") is True


@pytest.mark.parametrize(
    "endpoint",
    ["", "bogus", "tcp/127.0.0.1", "tcp/127.0.0.1:", "127.0.0.1:80", "tcp/h:65536", "tcp/ h:1"],
)
def test_what_is_no_endpoint_is_named(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="is no endpoint") as caught:
        make_config(ZenohSettings(), (endpoint,), Limits())
    assert repr(endpoint) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ConfigError):
        make_config(ZenohSettings(connect=(endpoint,)), (), Limits())


def test_a_wrong_realm_is_named() -> None:
    with pytest.raises(ConfigError, match="cannot name a realm"):
        make_config(ZenohSettings(realm="a/b"), (), Limits())


@pytest.mark.real
def test_a_free_port_is_chosen_where_none_is_given() -> None:
    fixed, chosen, tail = choose_ports(
        ("tcp/127.0.0.1:7447", "tcp/127.0.0.1:0", "tcp/127.0.0.1:0#iface=lo")
    )
    assert fixed == "tcp/127.0.0.1:7447"
    port = int(chosen.rpartition(":")[2])
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))
    assert tail.endswith("#iface=lo")


@pytest.mark.real
def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(NetworkError, match=r"tcp/192\.0\.2\.1:0") as caught:
        choose_ports(("tcp/192.0.2.1:0",))
    assert caught.value.hint


def test_an_error_of_zenoh_becomes_one_plain_line() -> None:
    raw = (
        "Can not create a new TCP listener bound to tcp/h:1: [h:1: Address already in use "
        "(os error 98) at /root/x/tcp.rs:61.] at /root/x/unicast.rs:338.\nmore"
    )
    error = zenoh_config.explain(RuntimeError(raw), ZenohSettings(listen=("tcp/h:1",)))
    assert "Address already in use" in error.message
    assert ".rs" not in error.message
    assert "\n" not in error.message
    assert error.hint is not None
    assert "tcp/h:1" in error.hint
