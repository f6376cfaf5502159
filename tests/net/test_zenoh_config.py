from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from net_realm import Realm

from dmoa.core.limits import Limits
from dmoa.errors import ConfigError, NetworkError
from dmoa.net import zenoh_config
from dmoa.net.zenoh_config import ZenohSettings, choose_ports, make_config
from dmoa.realm.identity import RealmIdentity


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


@pytest.fixture(scope="module")
def identity() -> Iterator[RealmIdentity]:
    realm = Realm()
    yield realm.member("a")
    realm.close()


SECURED = ZenohSettings(listen=("tls/127.0.0.1:7447",), connect=("tls/10.0.0.7:7447",), port=17500)


def secured(identity: RealmIdentity, path: str) -> object:
    return json.loads(make_config(SECURED, SECURED.listen, Limits(), identity).get_json(path))


def test_in_a_realm_every_link_is_mutual_tls(identity: RealmIdentity) -> None:
    papers = identity.papers
    assert secured(identity, "transport/link/protocols") == ["tls"]
    assert secured(identity, "transport/link/tls/enable_mtls") is True
    assert secured(identity, "transport/link/tls/close_link_on_expiration") is True
    assert secured(identity, "transport/link/tls/root_ca_certificate") == str(papers.authority)
    for end in ("listen", "connect"):
        own = secured(identity, f"transport/link/tls/{end}_certificate")
        assert own == str(papers.certificate)
        assert secured(identity, f"transport/link/tls/{end}_private_key") == str(papers.key)
    assert secured(identity, "scouting/multicast/address") == "224.0.0.224:17500"
    assert secured(identity, "access_control/enabled") is False


def test_who_is_revoked_is_denied_everything(tmp_path: Path) -> None:
    realm = Realm(tmp_path)
    identity = realm.member("a")
    assert identity.adopt(realm.revoke("mallory", "eve"))
    assert secured(identity, "access_control/enabled") is True
    (subject,) = secured(identity, "access_control/subjects")  # type: ignore[misc]
    assert subject["cert_common_names"] == ["eve", "mallory"]
    (rule,) = secured(identity, "access_control/rules")  # type: ignore[misc]
    assert (rule["permission"], rule["key_exprs"]) == ("deny", ["**"])
    assert set(rule["flows"]) == {"ingress", "egress"}


def test_a_relayed_node_listens_nowhere(identity: RealmIdentity) -> None:
    settings = replace(SECURED, relayed=True, multicast=True)
    config = make_config(settings, settings.endpoints, Limits(), identity)
    assert json.loads(config.get_json("mode")) == "client"
    assert json.loads(config.get_json("listen/endpoints")) == []
    assert json.loads(config.get_json("scouting/multicast/enabled")) is False
    with pytest.raises(ConfigError, match="needs a peer") as caught:
        make_config(replace(settings, connect=()), (), Limits(), identity)
    assert caught.value.hint


def test_nothing_in_clear_is_listened_at_or_called_in_a_realm(identity: RealmIdentity) -> None:
    for settings in (replace(SECURED, connect=("tcp/h:1",)), replace(SECURED, listen=("tcp/h:1",))):
        with pytest.raises(ConfigError, match="not encrypted") as caught:
            make_config(settings, settings.listen, Limits(), identity)
        assert caught.value.hint == "write it as tls/h:1"
    with pytest.raises(ConfigError, match="certificates of a realm"):
        make_config(SECURED, SECURED.listen, Limits())
