"""URLs that hold credentials: what makes them be read otherwise, and texts about them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from actions.publish import BrokerConnection
from gateway.config.schema.store import StoreSettings
from gateway.core.url_credentials import url_fault, without_credentials

PASSWORD = "Xk29fjs83hfK"


@pytest.mark.parametrize("character", ["#", "/", "?", "["])
def test_a_password_that_ends_its_part_of_the_url_is_told_by_the_character_alone(character: str) -> None:
    fault = url_fault(f"postgresql://app:{PASSWORD}{character}9@db.internal:5432/shop?sslmode=require")
    assert fault is not None
    assert fault.startswith(f"has a {character} where none can be: ")
    assert f"%{ord(character):02X}" in fault
    assert PASSWORD not in fault


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://a:1,b:2/shop?target_session_attrs=read-write",
        "postgresql:///shop?host=/run/postgresql&options=-c%20a=b@c",
        "postgresql://a%40b:p%23@[::1]:5432/shop",
        "postgresql://app:p@ss:w@db/shop",
        "redis://:pw@127.0.0.1:6379/0",
        "unix:///run/redis.sock",
        "nats://token@nats.internal:4222",
    ],
)
def test_a_url_that_is_read_as_it_is_meant_has_no_fault(url: str) -> None:
    assert url_fault(url) is None


def test_the_store_and_a_broker_refuse_such_a_url_at_load() -> None:
    with pytest.raises(ValidationError, match="has a # where none can be"):
        StoreSettings.model_validate({"url": f"postgresql://gateway:{PASSWORD}#9@db/gateway"})
    with pytest.raises(ValidationError, match="has a / where none can be"):
        BrokerConnection.model_validate({"type": "broker", "url": f"nats://a:b@one:4222,nats://a:{PASSWORD}/9@two"})


def test_a_text_has_no_part_of_a_url_that_could_be_a_credential() -> None:
    url = "nats://sometoken@one:4222,nats://me:p%2Fw@two:4222"
    assert without_credentials("sometoken\n p/w p%2Fw one two me", url) == "*** *** *** one two me"
    assert without_credentials("shop me", "postgresql://me@db/shop") == "shop me"
    hook = "discord://0123456789/AbCdEf?avatar=no"
    assert without_credentials("no 0123456789 AbCdEf here", hook, every_part=True) == "no *** *** here"
