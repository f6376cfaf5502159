"""`dmoa simulate --overlap`: what is read ahead, by whom, and where nobody does."""

from __future__ import annotations

import json

from click.testing import CliRunner, Result

from dmoa.cli.main import cli

SMALL = ("--nodes", "4", "--queries", "400", "--replications", "2")


def simulate(*args: str) -> Result:
    result = CliRunner().invoke(cli, ["simulate", *SMALL, *args])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_an_eager_policy_is_simulated_by_agents_and_hides_the_overlap() -> None:
    wanted = ("--queries", "150", "--arrival-rate", "0.2rho", "--overlap", "0.5")
    result = simulate(*wanted, "--policy", "paper,eager", "--engine", "world", "--json")
    assert result.exit_code == 0
    paper, eager = json.loads(result.stdout)["rows"]
    assert paper["overlap"] == eager["overlap"] == 0.5
    assert paper["rho"] == eager["rho"]
    assert eager["mean"] < paper["mean"]
    told = simulate(*wanted, "--policy", "eager")
    assert "eager: simulated by the agents themselves" in told.stderr
    assert "world" in told.stderr


def test_an_overlap_that_no_policy_hides_is_said_and_no_other_engine_can() -> None:
    wanted = ("--arrival-rate", "0.2rho", "--overlap", "0.5")
    assert "nothing is hidden: no policy reads ahead; eager does" in simulate(*wanted).stderr
    refused = simulate(*wanted, "--policy", "eager", "--engine", "kernel")
    assert refused.exit_code == 2
    assert "only agents read ahead" in refused.stderr
    assert simulate("--arrival-rate", "0.2rho", "--overlap", "1").exit_code == 2
