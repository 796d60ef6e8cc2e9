"""Test that proxy settings which cannot be used are one message, which never shows their values."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from huggingface_hub import close_session

from adapterbook.sources.hub import ask_commit, explain_error
from adapterbook.sources.hub_patience import PROXY_VARIABLES, ProxySettingError


@pytest.fixture(autouse=True)
def fresh_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin without proxies, and with a client that is not made yet."""
    for name in [name for name in os.environ if name.upper() in PROXY_VARIABLES]:
        monkeypatch.delenv(name)
    close_session()
    yield
    close_session()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080"),
        ("all_proxy", "socks5h://me:SECRET@127.0.0.1:1080"),
        ("ALL_PROXY", "socks://127.0.0.1:1080"),
        ("HTTPS_PROXY", "http://me:p#SECRET@127.0.0.1:80"),
        ("HTTPS_PROXY", " http://me:SECRET@127.0.0.1:80 "),
        ("https_proxy", "127.0.0.1:80:80"),
        ("HTTP_PROXY", "http://[::1"),
        ("HTTPS_PROXY", "ftp://SECRET@127.0.0.1"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The answer names the variable and what is expected; it is an error of the question, so `auto` goes on."""
    monkeypatch.setenv(name, value)
    error = ask_commit("a/b", "model", None, 1.0).exception(timeout=60)
    assert isinstance(error, ProxySettingError)
    said = explain_error(error, 1.0)
    assert f"the proxy settings {name} cannot be used" in said
    assert "SECRET" not in said
    assert ("SOCKS" in said) == value.startswith("socks")
