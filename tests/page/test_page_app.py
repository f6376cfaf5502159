"""GET /: the page and its files, small, strict, and open to whoever reaches the API."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest
from page_room import api, nodes

from dmoa.api.page import HEADERS, PATHS, files
from dmoa.config.keys import Doorkeeper, create

BUDGET = 60_000
"""Bytes of the first load, as browsers get it."""
LINES = 400
FOLDER = resources.files("dmoa.page")
TEXTS = {name: FOLDER.joinpath(name).read_text("utf-8") for name, _ in PATHS.values()}
MODULES = sorted(name for name in TEXTS if name.endswith(".js"))


async def test_every_file_is_served_with_its_type_and_the_strict_policy() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        for path, (name, media) in PATHS.items():
            response = await http.get(path, headers={"Accept-Encoding": "identity"})
            assert (response.status_code, response.text) == (200, TEXTS[name])
            assert response.headers["content-type"] == media
            for header, value in HEADERS.items():
                assert response.headers[header] == value, header
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in policy
    assert "*" not in policy
    assert HEADERS["Cache-Control"] == "no-cache"


async def test_a_browser_that_has_it_gets_it_no_second_time() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        for path in PATHS:
            tag = (await http.get(path)).headers["etag"]
            for known in (tag, tag.removeprefix("W/"), f'"other", {tag}'):
                again = await http.get(path, headers={"If-None-Match": known})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["etag"] == tag
            other = await http.get(path, headers={"If-None-Match": '"other"'})
            assert other.status_code == 200


async def test_the_first_load_is_small() -> None:
    size = 0
    async with nodes("n1") as (home,), api(home) as http:
        for path in PATHS:
            async with http.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as response:
                assert response.headers["content-encoding"] == "gzip"
                assert response.headers["vary"] == "Accept-Encoding"
                size += sum([len(chunk) async for chunk in response.aiter_raw()])
                size += sum(len(name) + len(value) + 4 for name, value in response.headers.items())
    assert size < BUDGET
    assert sum(len(packed) for _, packed in files().values()) < size


async def test_the_page_needs_no_key_and_what_it_shows_does(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    create(file)
    async with nodes("n1") as (home,), api(home, Doorkeeper(file)) as http:
        for path in PATHS:
            assert (await http.get(path)).status_code == 200
        for path in ("/v1/feed", "/v1/peers", "/v1/plan?layers=1&fanout=0&arrival_rate=1"):
            assert (await http.get(path)).status_code == 401
        for path in ("/page/", "/page/page.css/", "/page/none.js", "/page/../v1/peers"):
            assert (await http.get(path)).status_code == 401
        assert (await http.post("/")).status_code == 401


async def test_a_node_that_loads_shows_its_page() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        await home.close()
        assert (await http.get("/")).status_code == 200


async def test_the_page_is_no_part_of_the_described_api() -> None:
    async with nodes("n1") as (home,), api(home) as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    assert not set(PATHS) & set(paths)
    assert "/v1/feed" not in paths
    assert "/v1/plan" in paths


# -- what stands in the files ------------------------------------------------------------


def test_every_file_of_the_page_is_served_and_named_where_it_is_loaded() -> None:
    there = {each.name for each in FOLDER.iterdir() if not each.name.startswith("__")}
    assert there == set(TEXTS)
    told = set(re.findall(r'(?:href|src)="page/([a-z.]+)"', TEXTS["index.html"]))
    assert told == there - {"index.html"}


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_what_is_there(name: str) -> None:
    imports = re.findall(r'import \{([^}]*)\} from "\./([a-z.]+)"', TEXTS[name])
    assert len(imports) == len(re.findall(r"^import ", TEXTS[name], re.MULTILINE))
    for names, source in imports:
        body = TEXTS[name].replace(f"{{{names}}}", "")
        for each in (word.strip() for word in names.split(",")):
            exported = rf"export (async )?(function\*? |class |const ){re.escape(each)}(?!\w)"
            assert re.search(exported, TEXTS[source]), f"{each} of {source}"
            used = r"\$\(" if each == "$" else rf"\b{each}\b"
            assert re.search(used, body), f"{name} imports {each} for nothing"


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_file_loads_or_names_another_host(name: str) -> None:
    hosts = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}[^\s\"']*", TEXTS[name]))
    assert hosts <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in TEXTS[name]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_makes_markup_or_code_of_a_text(name: str) -> None:
    ways = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc"
    ways += r"|createContextualFragment|DOMParser|setHTML|setAttribute\(\"(style|on)"
    assert not re.search(ways, TEXTS[name])
    opens = TEXTS[name].splitlines()
    assert opens[0].startswith("// "), "a module says what it is"


def test_the_page_itself_has_no_script_or_style_in_it() -> None:
    page = TEXTS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    assert re.findall(r"<script[^>]*>([^<]*)", page) == [""]
    assert '<html lang="en">' in page


@pytest.mark.parametrize("name", [*MODULES, "page.css", "index.html"])
def test_no_file_of_the_page_is_longer_than_a_sitting(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= LINES
