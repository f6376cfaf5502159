"""`dmoa up` beyond this machine: only with keys, and with papers that are good."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripted_api import Dmoa

from dmoa.config.keys import create, revoke

FLAGS = ["up", "--model", "fake:0", "--port", "0"]


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    file = tmp_path / "some.toml"
    file.touch()
    return file


@pytest.mark.parametrize("host", ["0.0.0.0", "revoked"])  # noqa: S104
def test_nobody_is_served_beyond_it_without_keys(dmoa: Dmoa, config: Path, host: str) -> None:
    file = config.with_name("keys.json")
    if host == "revoked":
        revoke(file, create(file)[1].name)
    result = dmoa(*FLAGS, "--host", "0.0.0.0", "--config", str(config))  # noqa: S104
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "error: host 0.0.0.0 is beyond this machine, where an API answers nobody without keys\n\n"
        f"hint: `dmoa key create` makes one, whose hash goes to {file}\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('certificate = "none.pem"', "error: certificate: none.pem cannot be read: No such file"),
        ('certificate_key = "a.key"', "error: certificate_key is set, and certificate is not\n"),
        ('host = "192.0.2.1"', "error: port 0 of 192.0.2.1 cannot be used: "),
        (
            'host = "a b"',
            "error: {file}: host must be the name or the address of a host, not 'a b'",
        ),
    ],
)
def test_what_cannot_be_served_is_told_in_a_line(
    dmoa: Dmoa, config: Path, text: str, words: str
) -> None:
    config.write_text(text)
    result = dmoa(*FLAGS, "--config", str(config))
    assert result.exit_code == 2
    assert result.stderr.startswith(words.format(file=config))
