"""What the nginx gate's files are filled with can never become configuration of its own."""

import hashlib
import re
from dataclasses import replace

import pytest

from freshline.gates import LAPSES
from freshline.gates.nginx import LUA, Settings, lua_files, render

GOOD = Settings(
    secret="0123456789abcdef",
    gate="127.0.0.1:9101",
    site="127.0.0.1:80",
    cache_path="/var/cache/nginx/",
    journal="/var/lib/freshline/journal",
    module="/etc/nginx/freshline/module.so",
)


def test_every_place_is_filled():
    """No file of the gate leaves a place open."""
    lapses = (replace(GOOD, lapse=lapse) for lapse in LAPSES)
    for settings in (replace(GOOD, site_tls="[::1]:443", levels="2:2:1"), *lapses):
        for text in render(settings).values():
            assert "@" not in text


@pytest.mark.parametrize(
    "bad",
    [
        {"secret": "short"},
        {"secret": '0123456789abcdef"; evil'},
        {"secret": "0123456789abcdef\n"},
        {"cache_path": "relative"},
        {"cache_path": "/a;b"},
        {"cache_path": '/a"b'},
        {"lua": "lua"},
        {"lua": "/a;b"},
        {"lua": "/a?b"},
        {"module": "module.so"},
        {"module": '/a"; evil'},
        {"journal": "/a b"},
        {"journal": "/a\nb"},
        {"levels": "1:2:3"},
        {"levels": "}"},
        {"rules_size": "64"},
        {"tags_size": "64m; evil"},
        {"gate": "127.0.0.1"},
        {"gate": "127.0.0.1:0"},
        {"gate": "127.0.0.1:80; evil"},
        {"site": 'x":80'},
        {"site_tls": "x:99999"},
        {"ttl_seconds": 0},
        {"lapse": "sometimes"},
    ],
)
def test_what_could_break_out_is_refused(bad):
    """A quote, a semicolon, a line break or an empty limit is refused before a file is written."""
    with pytest.raises(ValueError):
        render(replace(GOOD, **bad))


def test_the_lua_lies_where_it_was_said():
    """Where the gate is installed is for the server's own paths; a space is no trouble, what ends a string is."""
    moved = replace(GOOD, lua="/opt/my gate/lua")

    assert 'lua_package_path "/opt/my gate/lua/?.lua;;";' in render(moved)["http.conf"]
    assert {"freshline/gate.lua", "freshline.lua", "freshline/shared.h"} <= set(lua_files())


def test_another_shared_header_has_another_number():
    """What the module and Lua agree on by a number is this text; whoever changes it changes both."""
    text = (LUA / "freshline" / "shared.h").read_bytes()
    number = re.search(rb"FRESHLINE_LAYOUT = (\d+)", text)

    assert number
    assert (int(number[1]), hashlib.sha256(text).hexdigest()[:16]) == (5, "fecc3598ca8667e4")
